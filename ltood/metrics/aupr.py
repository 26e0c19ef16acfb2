"""AUPR: area under the precision-recall curve by the trapezoid rule.

The curve starts at recall 0 with precision 1 and joins the distinct thresholds by
straight lines, as OpenOOD and pytorch-ood do. The lines are optimistic between distant
points, which shows on small OOD sets; the long-tail papers print the step form, see
`average_precision`. Davis and Goadrich, "The Relationship Between Precision-Recall and
ROC Curves", ICML 2006, explain why.
"""

import numpy as np
from numpy.typing import ArrayLike

from ltood.metrics._ranking import Positive, Ranking, rank

HIGHER_IS_BETTER = True
UNIT = "fraction"


def aupr(id_scores: ArrayLike, ood_scores: ArrayLike, *, positive: Positive) -> float:
    """Trapezoid area under the precision-recall curve.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        ood_scores: Scores of OOD rows, [M].
        positive: The side to be found; "ood" gives AUPR-out, "id" AUPR-in.

    Returns:
        A fraction, above 0 up to 1.

    Raises:
        ConfigError: If `positive` is another word.
        DataError: If the scores cannot be ranked.
    """
    return from_ranking(rank(id_scores, ood_scores), positive=positive)


def from_ranking(ranking: Ranking, *, positive: Positive) -> float:
    """AUPR of rows that are sorted already.

    Raises:
        ConfigError: If `positive` is another word.
    """
    _, hits, false_alarms = ranking.sweep(positive)
    counted = hits + false_alarms > 0
    hits, false_alarms = hits[counted], false_alarms[counted]
    recall = np.concatenate([[0.0], hits / hits[-1]])
    precision = np.concatenate([[1.0], hits / (hits + false_alarms)])
    return float((np.diff(recall) * (precision[1:] + precision[:-1])).sum() / 2)
