"""Conformal p-values within groups of rows, exact for each group whatever their shares.

Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", Springer 2005, who
call such predictors Mondrian.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from ltood.core.errors import DataError
from ltood.ops.conformal import checked_scores, known
from ltood.ops.tails import doubled, log_doubled, tail_scales


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
        checked = checked_scores(scores)
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
        return known(found, new)

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


def _checked_groups(groups: Tensor, num_groups: int) -> Tensor:
    if groups.numel() and not ((groups >= 0) & (groups < num_groups)).all():
        raise DataError(
            f"groups go from {int(groups.min())} to {int(groups.max())}; they must lie between 0 "
            f"and {num_groups - 1}."
        )
    return groups.long()
