"""Conformal p-values: how rare a score is among calibration rows, exactly.

For n calibration rows that are exchangeable with a new ID row, the p-value

    p(s) = (1 + #{calibration scores >= s}) / (n + 1)

satisfies P(p <= u) <= u for every u, whatever the distribution of the scores; ties count
against the new row. With weights w for another class mix the counts become sums of weights,
and the new row enters with a weight of its own.

Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", Springer 2005
(p-values, groups); Tibshirani, Barber, Candes and Ramdas, "Conformal Prediction Under Covariate
Shift", NeurIPS 2019 (weights). All is float64, and counts are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from ltood.core.errors import DataError
from ltood.ops.tails import doubled, log_doubled, tail_scales


@dataclass(frozen=True, eq=False)
class RankMap:
    """Scores to conformal p-values, learned from calibration scores.

    Attributes:
        scores: Calibration scores in ascending order, [n] float64.
        mass: Weight of the calibration rows from each rank upwards, [n + 1] float64; counts
            where there are no weights, and 0 at the end.
        test_weight: Weight of a new row, [] float64.
        tails: Mean excess in the upper and in the lower tail, [2] float64, above 0.
    """

    scores: Tensor
    mass: Tensor
    test_weight: Tensor
    tails: Tensor

    @classmethod
    def fit(
        cls, scores: Tensor, *, weights: Tensor | None = None, test_weight: float | None = None
    ) -> Self:
        """Take calibration scores.

        Args:
            scores: Scores of held-out ID rows, [n]; finite.
            weights: Weight of each row, [n]; 0 or more, not all 0. All count 1 if not given.
            test_weight: Weight of a new row. Where the true one is not known, a larger one
                keeps the guarantee; the largest of `weights` if not given.

        Raises:
            DataError: If there are no rows, a score is not finite or a weight breaks a rule.
        """
        checked = _checked(scores)
        ordered, order = checked.sort()
        if weights is None:
            mass = torch.arange(len(ordered), -1, -1, dtype=torch.float64, device=ordered.device)
            own = 1.0
        else:
            given = _checked_weights(weights, len(ordered))
            mass = torch.cat([given[order].flip(0).cumsum(0).flip(0), given.new_zeros(1)])
            own = float(given.max())
        own = own if test_weight is None else test_weight
        return cls(ordered, mass, ordered.new_tensor(own), tail_scales(ordered))

    def p_values(self, scores: Tensor, *, two_sided: bool = False) -> Tensor:
        """Conformal p-values, [N] float64, above 0 up to 1; small means OOD.

        Args:
            scores: Scores of new rows, [N].
            two_sided: Whether rows that score unusually low are rare as well.
        """
        new = scores.to(self.scores)
        upper = self._share(self.mass[torch.searchsorted(self.scores, new)])
        if not two_sided:
            return _known(upper, new)
        below = self.mass[0] - self.mass[torch.searchsorted(self.scores, new, right=True)]
        return _known(doubled(upper, self._share(below)), new)

    def log_p(self, scores: Tensor, *, two_sided: bool = False) -> Tensor:
        """Logarithms of p-values for ranking, [N] float64; small means OOD.

        Among the calibration scores they equal log `p_values`. Beyond the largest of them all
        p-values are equal, which would tie the clearest OOD rows; there the logarithm falls
        by 1 for each mean excess that the score lies beyond. Never decide by these values.
        """
        new = scores.to(self.scores)
        beyond = (new - self.scores[-1]).clamp(min=0) / self.tails[0]
        upper = self.p_values(new).log() - beyond
        if not two_sided:
            return upper
        below = self.mass[0] - self.mass[torch.searchsorted(self.scores, new, right=True)]
        beyond = (self.scores[0] - new).clamp(min=0) / self.tails[1]
        return log_doubled(upper, self._share(below).log() - beyond)

    def _share(self, mass: Tensor) -> Tensor:
        """Weight of some calibration rows and the new row, of that of all."""
        return (mass + self.test_weight) / (self.mass[0] + self.test_weight)

    def threshold(self, level: float) -> float:
        """Score above which, and only above which, p-values are at most `level`."""
        kept = self._share(self.mass[torch.searchsorted(self.scores, self.scores)]) > level
        last = float(self.scores[int(kept.sum()) - 1])
        return torch.inf if self.smallest_p > level else last

    @property
    def smallest_p(self) -> float:
        """P-value of a score above all others."""
        return float(self._share(self.mass[-1]))

    def state(self) -> dict[str, Tensor]:
        """Learned tensors by name."""
        names = ("scores", "mass", "test_weight", "tails")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restore(cls, state: Mapping[str, Tensor]) -> Self:
        """The map whose `state()` is given."""
        return cls(**state)


@dataclass(frozen=True, eq=False)
class GroupedMap:
    """Conformal p-values within groups of rows: exact for each group whatever their shares.

    A group must be known without the label, such as the predicted class. Groups with too few
    calibration rows are merged with the next (the last ones with the one before) into parts.

    Attributes:
        scores: Calibration scores in ascending order within each part, [n] float64.
        starts: First row of each part and the end, [P + 1] int64.
        parts: Part of each group, [G] int64.
        tails: Mean excess in the upper and in the lower tail of each part, [P, 2] float64.
    """

    scores: Tensor
    starts: Tensor
    parts: Tensor
    tails: Tensor

    @classmethod
    def fit(cls, scores: Tensor, groups: Tensor, num_groups: int, *, minimum: int = 1) -> Self:
        """Take calibration scores and their groups.

        Args:
            scores: Scores of held-out ID rows, [n]; finite.
            groups: Group of each row, [n] from 0 to G - 1.
            num_groups: Number of groups G.
            minimum: Fewest calibration rows of a part; a level alpha needs 1 / alpha - 1. With 0
                nothing is merged, and p-values of an empty part are 1.

        Raises:
            DataError: If there are no rows, a score is not finite or a group does not exist.
        """
        checked = _checked(scores)
        groups = _checked_groups(groups.to(checked.device), num_groups)
        parts = merged_parts(torch.bincount(groups, minlength=num_groups), minimum)
        ordered, order = checked.sort()
        found = parts[groups[order]]
        by_part = found.argsort(stable=True)
        counts = torch.bincount(found, minlength=int(parts[-1]) + 1)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        held = ordered[by_part]
        slices = torch.split(held, counts.tolist())
        return cls(held, starts, parts, torch.stack([tail_scales(part) for part in slices]))

    @property
    def counts(self) -> Tensor:
        """Calibration rows of each part, [P] int64."""
        return self.starts.diff()

    def p_values(self, scores: Tensor, groups: Tensor, *, two_sided: bool = False) -> Tensor:
        """Conformal p-values within the groups of the rows, [N] float64; small means OOD.

        Args:
            scores: Scores of new rows, [N].
            groups: Their groups, [N] from 0 to G - 1.
            two_sided: Whether rows that score unusually low are rare as well.

        Raises:
            DataError: If a group does not exist.
        """
        new, parts = scores.to(self.scores), self._parts(groups)
        upper = self._upper(new, parts)
        found = doubled(upper, self._lower(new, parts)) if two_sided else upper
        return _known(found, new)

    def log_p(self, scores: Tensor, groups: Tensor, *, two_sided: bool = False) -> Tensor:
        """Logarithms of p-values for ranking, [N] float64; see `RankMap.log_p`."""
        new, parts = scores.to(self.scores), self._parts(groups)
        # Tails of empty parts are infinite, so that it does not matter which score these take.
        last = len(self.scores) - 1
        largest = self.scores[(self.starts[1:] - 1).clamp(min=0)]
        smallest = self.scores[self.starts[:-1].clamp(max=last)]
        beyond = (new - largest[parts]).clamp(min=0) / self.tails[parts, 0]
        upper = self._upper(new, parts).log() - beyond
        if not two_sided:
            return upper
        beyond = (smallest[parts] - new).clamp(min=0) / self.tails[parts, 1]
        return log_doubled(upper, self._lower(new, parts).log() - beyond)

    def thresholds(self, levels: Tensor) -> Tensor:
        """Score of each part above which, and only above which, p-values are at most a level.

        Args:
            levels: Level of each part, [P]; below 1.

        Returns:
            [P] float64; infinite where no p-value is that small.
        """
        parts = torch.arange(len(self.counts), device=self.starts.device)
        of_rows = parts.repeat_interleave(self.counts)
        kept = self._upper(self.scores, of_rows) > levels[of_rows]
        last = self.starts[:-1] + torch.bincount(of_rows[kept], minlength=len(parts)) - 1
        reached = 1 / (self.counts + 1).double() <= levels
        return self.scores[last.clamp(min=0)].masked_fill(~reached, torch.inf)

    @cached_property
    def _ordered(self) -> Tensor:
        """All calibration scores in ascending order, [n]."""
        return self.scores.sort().values

    @cached_property
    def _keys(self) -> Tensor:
        """Part and rank among all calibration scores in one ascending number, [n] int64.

        Ranks order scores as the scores do, so that one search finds the place of a score in
        its part.
        """
        parts = torch.arange(len(self.starts) - 1, device=self.starts.device)
        ranks = torch.searchsorted(self._ordered, self.scores)
        return parts.repeat_interleave(self.counts) * (len(self.scores) + 1) + ranks

    def _place(self, new: Tensor, parts: Tensor, *, right: bool) -> Tensor:
        """Row before which each score belongs in its part; behind its equals if `right`."""
        ranks = torch.searchsorted(self._ordered, new, right=right)
        return torch.searchsorted(self._keys, parts * (len(self.scores) + 1) + ranks)

    def _upper(self, new: Tensor, parts: Tensor) -> Tensor:
        rows = self.starts[parts + 1] - self._place(new, parts, right=False)
        return (rows + 1).double() / (self.counts[parts] + 1)

    def _lower(self, new: Tensor, parts: Tensor) -> Tensor:
        rows = self._place(new, parts, right=True) - self.starts[parts]
        return (rows + 1).double() / (self.counts[parts] + 1)

    def _parts(self, groups: Tensor) -> Tensor:
        return self.parts[_checked_groups(groups.to(self.parts.device), len(self.parts))]

    def state(self) -> dict[str, Tensor]:
        """Learned tensors by name."""
        names = ("scores", "starts", "parts", "tails")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restore(cls, state: Mapping[str, Tensor]) -> Self:
        """The map whose `state()` is given."""
        return cls(**state)


def merged_parts(counts: Tensor, minimum: int) -> Tensor:
    """Part of each group so that every part has `minimum` rows, [G] int64, from 0 upwards.

    Neighbours are merged in their order, until there are enough rows; what is left at the end
    joins the part before. With fewer rows in all there is one part.

    Args:
        counts: Rows of each group, [G].
        minimum: Fewest rows of a part; with 0 every group is a part, also an empty one.
    """
    parts, part, rows = [], 0, 0
    for count in counts.tolist():
        parts.append(part)
        rows += count
        if rows >= minimum:
            part, rows = part + 1, 0
    last = max(part - 1, 0)  # What is left over has no part of its own.
    return torch.tensor([min(p, last) for p in parts], device=counts.device)


def _known(p_values: Tensor, scores: Tensor) -> Tensor:
    """P-values, NaN where the score is: a search would put it beyond all others."""
    return p_values.masked_fill(scores.isnan(), torch.nan)


def _checked(scores: Tensor) -> Tensor:
    values = scores.detach().double()
    bad = int((~values.isfinite()).sum())
    if values.ndim != 1 or len(values) == 0 or bad:
        raise DataError(
            f"calibration scores have shape {list(values.shape)} and {bad} of them are not finite; "
            "a conformal map needs finite scores of held-out ID rows, [n]."
        )
    return values


def _checked_weights(weights: Tensor, num: int) -> Tensor:
    values = weights.detach().double()
    if values.shape != (num,) or not ((values >= 0) & values.isfinite()).all():
        raise DataError(
            f"calibration weights have shape {list(values.shape)} for {num} rows or are not all "
            "finite and 0 or more; give one weight for each row."
        )
    if values.sum() == 0:
        raise DataError("calibration weights are all 0; no row is left to compare with.")
    return values


def _checked_groups(groups: Tensor, num_groups: int) -> Tensor:
    if groups.numel() and not ((groups >= 0) & (groups < num_groups)).all():
        raise DataError(
            f"groups go from {int(groups.min())} to {int(groups.max())}; they must lie between 0 "
            f"and {num_groups - 1}."
        )
    return groups.long()
