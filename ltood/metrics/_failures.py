"""Accepted rows and failures among them, while the threshold moves from strict to loose."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import DataError
from ltood.metrics._judged import Judged
from ltood.metrics._ranking import Counts


def by_coverage(judged: Judged) -> tuple[Counts, Counts]:
    """Rows accepted at each distinct score, lowest first, and the failures among them.

    A wrongly classified row and an OOD row are failures; relabelled rows take no part.

    Returns:
        Accepted rows and failures, [T] int64 each, never falling.
    """
    failures = (judged.wrong + judged.ranking.ood_counts)[::-1].cumsum()
    return failures + judged.right[::-1].cumsum(), failures


def of_rows(scores: ArrayLike, failed: ArrayLike) -> tuple[Counts, Counts]:
    """The same of rows by themselves, such as the ID test rows without any OOD set.

    Args:
        scores: Scores, [N]; higher means less trusted.
        failed: Whether each row is a failure, [N] bool.

    Raises:
        DataError: If there is no row, or not one judgement for each.
    """
    values, failures = np.asarray(scores), np.asarray(failed, dtype=np.bool_)
    if values.ndim != 1 or values.shape != failures.shape or len(values) == 0:
        raise DataError(
            f"scores have shape {values.shape} and judgements {failures.shape}; both are one list "
            "[N] of at least one row."
        )
    order = np.argsort(values, kind="stable")
    rising = values[order]
    last = np.append(np.flatnonzero(rising[1:] != rising[:-1]), len(rising) - 1)
    return last + 1, failures[order].cumsum()[last]


def trapezoid(accepted: Counts, heights: NDArray[np.float64]) -> float:
    """Area below `heights` over the coverage, flat before the first accepted row."""
    coverage = accepted / accepted[-1]
    widths = np.diff(coverage, prepend=0.0)
    before = np.concatenate([heights[:1], heights[:-1]])
    return float((widths * (before + heights) / 2).sum())
