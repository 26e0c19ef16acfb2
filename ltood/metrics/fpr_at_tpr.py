"""FPR at a recall of 95 %: negatives let in when the threshold finds 95 % of positives.

Two questions decide the number, and papers answer them differently:

- Which side is positive? OOD in the official code of PASCL, PATT and ImOOD, and in
  OpenOOD; ID in that of HIMPLoS, LoCoOp and MCM.
- Which threshold? Only distinct scores count. `nearest` (the systems above) takes the
  recall nearest to the wanted one among the thresholds down to the first full recall;
  of two equally near the higher recall, of equal recalls the larger FPR. `first`
  (OpenOOD, pytorch-ood) takes the first recall at or above the wanted one.

Departures: distances are compared as whole numbers, so two recalls that are equally
near tie exactly; in floating point, official code decides such ties by rounding when
there are 10, 30, 70, ... positives (at 50 it also ties). OpenOOD first drops points on
straight parts of its curve, which can skip a threshold where both sides share scores.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ltood.core.errors import ConfigError
from ltood.core.ranking import Positive, Ranking, rank

HIGHER_IS_BETTER = False
UNIT = "fraction"

Rule = Literal["nearest", "first"]


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
        ood_scores: Scores of OOD rows, [M]; likewise.
        tpr: Wanted recall of the positive side, above 0 up to 1; six decimals count.
        positive: The side to be found.
        rule: "nearest" or "first", see the module.

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
    wanted = Fraction(tpr).limit_denominator(10**6)
    # hits / num_positive - wanted, times both denominators: exact in whole numbers.
    distance = sweep.hits * wanted.denominator - wanted.numerator * num_positive
    if rule == "nearest":
        full = int(np.searchsorted(sweep.hits, num_positive))
        # Looked at from the loose end, so that the loosest of equally near ones wins.
        chosen = full - int(np.argmin(np.abs(distance[full::-1])))
    elif rule == "first":
        chosen = int(np.searchsorted(distance, 0))
    else:
        raise ConfigError(f"rule is {rule!r}; set it to 'nearest' or 'first'.")
    return OperatingPoint(
        threshold=float(sweep.thresholds[chosen]),
        tpr=int(sweep.hits[chosen]) / num_positive,
        fpr=int(sweep.false_alarms[chosen]) / num_negative,
    )
