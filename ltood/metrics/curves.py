"""Points of the ROC and the precision-recall curve and histograms, few enough to plot.

Every point is a real operating point at a distinct score; nothing is interpolated.
Thinning keeps both ends and takes the others at even steps of (TPR + FPR) / 2, so a
line through them is never off by more than one such step (plus one tie) on the ROC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import ConfigError
from ltood.metrics._ranking import Positive, Ranking, rank

#: A curve that runs higher is the better one.
HIGHER_IS_BETTER = True
UNIT = "fraction"

MAX_POINTS = 600
NUM_BINS = 60


@dataclass(frozen=True)
class Curve:
    """A curve of K points.

    Attributes:
        x: FPR of a ROC curve, recall of a precision-recall curve, [K], fractions.
        y: TPR, or precision, [K], fractions.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]


def curves(
    id_scores: ArrayLike,
    ood_scores: ArrayLike,
    *,
    positive: Positive,
    max_points: int = MAX_POINTS,
) -> tuple[Curve, Curve]:
    """ROC and precision-recall curve.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        ood_scores: Scores of OOD rows, [M].
        positive: The side to be found.
        max_points: Most points of each curve, at least 2.

    Returns:
        The ROC curve from (0, 0) to (1, 1), and the precision-recall curve from recall 0
        with precision 1 (by convention) to recall 1.

    Raises:
        ConfigError: If an option is out of range.
        DataError: If the scores cannot be ranked.
    """
    ranking = rank(id_scores, ood_scores)
    return (
        roc(ranking, positive=positive, max_points=max_points),
        precision_recall(ranking, positive=positive, max_points=max_points),
    )


def roc(ranking: Ranking, *, positive: Positive, max_points: int = MAX_POINTS) -> Curve:
    """ROC curve of rows that are sorted already, at most `max_points` points.

    Raises:
        ConfigError: If an option is out of range.
    """
    fpr, tpr = _rates(ranking, positive)
    kept = _thinned(fpr, tpr, max_points)
    return Curve(fpr[kept], tpr[kept])


def precision_recall(
    ranking: Ranking, *, positive: Positive, max_points: int = MAX_POINTS
) -> Curve:
    """Precision-recall curve of sorted rows, at most `max_points` points.

    Raises:
        ConfigError: If an option is out of range.
    """
    _, hits, false_alarms = ranking.sweep(positive)
    precision = np.concatenate([[1.0], hits / (hits + false_alarms)])
    fpr, recall = _rates(ranking, positive)
    kept = _thinned(fpr, recall, max_points)
    return Curve(recall[kept], precision[kept])


def histograms(
    sides: Sequence[NDArray[np.floating[Any]]], num_bins: int = NUM_BINS
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Histograms of several lists of scores over the same bins.

    Args:
        sides: Scores of each side, none empty.
        num_bins: Number of bins B.

    Returns:
        Bin borders, [B + 1], and for each side the share of its rows in each bin, [B],
        sum 1. The bins span the middle 99.8 % of all scores; the end bins hold the rest.
    """
    # A single far score must not squeeze everything else into one bin.
    low, high = np.quantile(np.concatenate(sides).astype(np.float64), [0.001, 0.999])
    if low == high:
        low, high = low - 0.5, high + 0.5
    borders = np.linspace(low, high, num_bins + 1)
    clipped = [np.clip(scores.astype(np.float64), low, high) for scores in sides]
    return borders, [np.histogram(scores, borders)[0] / len(scores) for scores in clipped]


def _rates(ranking: Ranking, positive: Positive) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FPR and TPR at every threshold, [T + 1] each, from 0 to 1."""
    _, hits, false_alarms = ranking.sweep(positive)
    return (
        np.concatenate([[0.0], false_alarms / false_alarms[-1]]),
        np.concatenate([[0.0], hits / hits[-1]]),
    )


def _thinned(
    fpr: NDArray[np.float64], tpr: NDArray[np.float64], max_points: int
) -> NDArray[np.int64]:
    """Positions of the points to keep, rising."""
    if max_points < 2:
        raise ConfigError(f"max_points is {max_points}; a curve keeps both ends, so set 2 or more.")
    if len(fpr) <= max_points:
        return np.arange(len(fpr))
    travelled = (fpr + tpr) / 2  # Rises at every threshold, from 0 to 1.
    return np.unique(np.searchsorted(travelled, np.linspace(0, 1, max_points)))
