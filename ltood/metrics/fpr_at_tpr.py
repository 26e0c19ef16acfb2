"""FPR at a recall of 95 %: negatives let in when the threshold finds 95 % of positives.

Two questions decide the number, and papers answer them differently:

- Which side is positive? OOD in the official code of PASCL, PATT and ImOOD, and in
  OpenOOD; ID in that of HIMPLoS, LoCoOp and MCM.
- Which threshold? Only distinct scores count. `nearest` (the systems above) takes the
  recall nearest to the wanted one among the thresholds down to the first full recall;
  of two equally near the higher recall, of equal recalls the larger FPR. `first`
  (OpenOOD, pytorch-ood) takes the first recall at or above the wanted one.

Like the official code, `nearest` subtracts in float64, where 0.94 and 0.96 tie but 0.9 is
nearer to 0.95 than 1.0; `nearest_exact` compares distances as whole numbers, so that equally
near recalls always tie. The two can differ only where two thresholds are equally near: small
sets, or 10, 30, 50, ... positives. OpenOOD first drops points on straight parts of its curve,
which can skip a threshold that both sides share.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import ConfigError
from ltood.metrics._ranking import Counts, Positive, Ranking, rank

HIGHER_IS_BETTER = False
UNIT = "fraction"

Rule = Literal["nearest", "nearest_exact", "first"]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does.

    Attributes:
        threshold: With OOD positive a row is flagged at `score >= threshold`; with ID
            positive it is accepted at `score <= threshold`.
        tpr: Share of the positive side that is found, fraction.
        fpr: Share of the negative side that is taken for positive, fraction.
    """

    threshold: float
    tpr: float
    fpr: float


def fpr_at_tpr(
    id_scores: ArrayLike,
    ood_scores: ArrayLike,
    tpr: float = 0.95,
    *,
    positive: Positive,
    rule: Rule = "nearest",
) -> float:
    """False positive rate at the threshold that `rule` picks for recall `tpr`.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        ood_scores: Scores of OOD rows, [M].
        tpr: Wanted recall of the positive side, above 0 up to 1; six decimals count.
        positive: The side to be found.
        rule: "nearest", "nearest_exact" or "first", see the module.

    Returns:
        A fraction, 0 to 1; lower is better.

    Raises:
        ConfigError: If an option is out of range.
        DataError: If the scores cannot be ranked.
    """
    return from_ranking(rank(id_scores, ood_scores), tpr, positive=positive, rule=rule)


def from_ranking(
    ranking: Ranking, tpr: float = 0.95, *, positive: Positive, rule: Rule = "nearest"
) -> float:
    """FPR of rows that are sorted already.

    Raises:
        ConfigError: If an option is out of range.
    """
    return operating_point(ranking, tpr, positive=positive, rule=rule).fpr


def operating_point(
    ranking: Ranking, tpr: float = 0.95, *, positive: Positive, rule: Rule = "nearest"
) -> OperatingPoint:
    """Threshold, recall and FPR that `rule` picks, of rows that are sorted already.

    Raises:
        ConfigError: If an option is out of range.
    """
    if not 0 < tpr <= 1:
        raise ConfigError(f"tpr is {tpr}; it is a recall, so set it above 0 and up to 1 (0.95).")
    sweep = ranking.sweep(positive)
    num_positive, num_negative = int(sweep.hits[-1]), int(sweep.false_alarms[-1])
    if rule == "first":
        chosen = int(np.searchsorted(_beyond(sweep.hits, tpr), 0))
    elif rule == "nearest_exact":
        chosen = _loosest_nearest(sweep.hits, _beyond(sweep.hits, tpr))
    elif rule == "nearest":
        chosen = _loosest_nearest(sweep.hits, sweep.hits / num_positive - tpr)
    else:
        raise ConfigError(f"rule is {rule!r}; set it to 'nearest', 'nearest_exact' or 'first'.")
    return OperatingPoint(
        threshold=float(sweep.thresholds[chosen]),
        tpr=int(sweep.hits[chosen]) / num_positive,
        fpr=int(sweep.false_alarms[chosen]) / num_negative,
    )


def _beyond(hits: Counts, tpr: float) -> Counts:
    """How far each recall lies above `tpr`, in whole numbers of one unit, [T]."""
    wanted = Fraction(tpr).limit_denominator(10**6)
    return hits * wanted.denominator - wanted.numerator * int(hits[-1])


def _loosest_nearest(hits: Counts, beyond: Counts | NDArray[np.float64]) -> int:
    """Position of the smallest distance down to the first full recall; ties go to the loosest."""
    full = int(np.searchsorted(hits, hits[-1]))
    return full - int(np.argmin(np.abs(beyond[full::-1])))
