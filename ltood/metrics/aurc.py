"""AURC: the error rate among accepted rows, averaged over all shares of accepted rows.

Rows are accepted from the lowest score on. The selective risk at a coverage is the share of
failures among the rows accepted so far: of ID rows that are classified wrongly, and of OOD rows,
since no answer to them is right. AURC is the area below it (Geifman and El-Yaniv, "Selective
Classification for Deep Neural Networks", NeurIPS 2017), by the trapezoid rule between distinct
scores, and flat before the first. It needs no threshold and judges classifier and detector at once.
"""

import numpy as np
from numpy.typing import ArrayLike

from ltood.metrics._failures import by_coverage, of_rows, trapezoid
from ltood.metrics._judged import Judged, judge

HIGHER_IS_BETTER = False
UNIT = "fraction"


def aurc(id_scores: ArrayLike, is_right: ArrayLike, ood_scores: ArrayLike | None = None) -> float:
    """Area under the risk-coverage curve; lower is better.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        is_right: Whether the predicted class of each is right, [N] bool.
        ood_scores: Scores of OOD rows, [M]; None judges the ID rows alone.

    Returns:
        A fraction, 0 to 1.

    Raises:
        DataError: If the scores cannot be ranked, or there are not N judgements.
    """
    if ood_scores is not None:
        return from_judged(judge(id_scores, is_right, ood_scores))
    accepted, failures = of_rows(id_scores, ~np.asarray(is_right, dtype=np.bool_))
    return trapezoid(accepted, failures / accepted)


def from_judged(judged: Judged) -> float:
    """AURC of rows that are sorted already, OOD rows as failures."""
    accepted, failures = by_coverage(judged)
    keep = accepted > 0  # Relabelled rows may have the lowest scores of all.
    return trapezoid(accepted[keep], failures[keep] / accepted[keep])
