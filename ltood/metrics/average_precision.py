"""Average precision (AP): precision summed in steps over recall.

AP = sum over thresholds of (gain in recall) x (precision there), without interpolation
and with one threshold for equal scores: what the official code of PASCL, PATT, ImOOD
and HIMPLoS prints as AUPR. Unlike AUROC it depends on the share of positives and on
which side is positive. Libraries that print a trapezoid instead: see `aupr`.
"""

import numpy as np
from numpy.typing import ArrayLike

from ltood.metrics._ranking import Positive, Ranking, rank

HIGHER_IS_BETTER = True
UNIT = "fraction"


def average_precision(id_scores: ArrayLike, ood_scores: ArrayLike, *, positive: Positive) -> float:
    """Step-wise area under the precision-recall curve.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        ood_scores: Scores of OOD rows, [M].
        positive: The side to be found; "ood" gives AP-out, "id" AP-in.

    Returns:
        A fraction, above 0 up to 1.

    Raises:
        ConfigError: If `positive` is another word.
        DataError: If the scores cannot be ranked.
    """
    return from_ranking(rank(id_scores, ood_scores), positive=positive)


def from_ranking(ranking: Ranking, *, positive: Positive) -> float:
    """Average precision of rows that are sorted already.

    Raises:
        ConfigError: If `positive` is another word.
    """
    _, hits, false_alarms = ranking.sweep(positive)
    counted = hits > 0  # Without a hit, a resampled ranking may count no row at all.
    hits, false_alarms = hits[counted], false_alarms[counted]
    gained = np.diff(hits, prepend=0)
    return float((gained * (hits / (hits + false_alarms))).sum() / hits[-1])
