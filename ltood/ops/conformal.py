"""Conformal p-values: how rare a score is among calibration rows, exactly.

For n calibration rows that are exchangeable with a new ID row, the p-value

    p(s) = (1 + #{calibration scores >= s}) / (n + 1)

satisfies P(p <= u) <= u for every u, whatever the distribution of the scores; ties count
against the new row. With weights w for another class mix the counts become sums of weights,
and the new row enters with a weight of its own.

Sources: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", Springer 2005
(p-values); Tibshirani, Barber, Candes and Ramdas, "Conformal Prediction Under Covariate
Shift", NeurIPS 2019 (weights). All is float64, and counts are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
        checked = checked_scores(scores)
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
            return known(upper, new)
        below = self.mass[0] - self.mass[torch.searchsorted(self.scores, new, right=True)]
        return known(doubled(upper, self._share(below)), new)

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


def known(p_values: Tensor, scores: Tensor) -> Tensor:
    """P-values, NaN where the score is: a search would put it beyond all others."""
    return p_values.masked_fill(scores.isnan(), torch.nan)


def checked_scores(scores: Tensor) -> Tensor:
    """Calibration scores as float64, [n].

    Raises:
        DataError: If there are none, or one is not finite.
    """
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
