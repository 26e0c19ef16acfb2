"""AUGRC: the chance that a row is accepted and fails, averaged over all shares of accepted rows.

As AURC, but the failures among accepted rows are divided by all rows instead of the accepted
ones, so that each failure counts alike wherever it stands: the generalised risk of Traub et al.,
"Overcoming Common Flaws in the Evaluation of Selective Classification Systems", NeurIPS 2024. With
accuracy A and the AUROC of failures R it equals (1 - R) A (1 - A) + (1 - A)² / 2.
"""

import numpy as np
from numpy.typing import ArrayLike

from ltood.metrics._failures import by_coverage, of_rows
from ltood.metrics._judged import Judged, judge
from ltood.metrics._ranking import Counts

HIGHER_IS_BETTER = False
UNIT = "fraction"


def augrc(id_scores: ArrayLike, is_right: ArrayLike, ood_scores: ArrayLike | None = None) -> float:
    """Area under the generalised risk-coverage curve; lower is better.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        is_right: Whether the predicted class of each is right, [N] bool.
        ood_scores: Scores of OOD rows, [M]; None judges the ID rows alone.

    Returns:
        A fraction, 0 to 0.5.

    Raises:
        DataError: If the scores cannot be ranked, or there are not N judgements.
    """
    if ood_scores is not None:
        return from_judged(judge(id_scores, is_right, ood_scores))
    return _area(*of_rows(id_scores, ~np.asarray(is_right, dtype=np.bool_)))


def from_judged(judged: Judged) -> float:
    """AUGRC of rows that are sorted already, OOD rows as failures."""
    return _area(*by_coverage(judged))


def _area(accepted: Counts, failures: Counts) -> float:
    """Area by the trapezoid rule from (0, 0) on: whole numbers until the division."""
    steps = accepted.copy()
    steps[1:] -= accepted[:-1]
    before = failures.copy()
    before[1:] = failures[:-1]
    before[0] = 0
    return int((steps * (before + failures)).sum()) / (2 * int(accepted[-1]) ** 2)
