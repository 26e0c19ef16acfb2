"""Both sides of an OOD test sorted once: the input that every ranking metric shares.

All threshold metrics (AUROC, average precision, FPR at a recall, curves) only need
how many ID and OOD rows lie at each distinct score. Equal scores share one threshold,
so no metric depends on the order in which rows arrive. NumPy only, float64 inside.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import ConfigError, DataError

Positive = Literal["ood", "id"]
Counts = NDArray[np.int64]
Values = NDArray[np.floating[Any]]


class Sweep(NamedTuple):
    """Rows on the positive side while the threshold moves from strict to loose.

    Attributes:
        thresholds: Distinct scores, [T]; descending where OOD is positive (a row counts
            at `score >= threshold`), ascending where ID is (`score <= threshold`).
        hits: Positive rows counted at each threshold, [T] int64, never falling.
        false_alarms: Negative rows counted at each threshold, [T] int64, never falling.
    """

    thresholds: Values
    hits: Counts
    false_alarms: Counts


@dataclass(frozen=True)
class Ranking:
    """How many rows of each side have each distinct score.

    Attributes:
        thresholds: Distinct scores of both sides, [T], descending.
        id_counts: ID rows with exactly that score, [T] int64.
        ood_counts: OOD rows with exactly that score, [T] int64.
    """

    thresholds: Values
    id_counts: Counts
    ood_counts: Counts

    @property
    def num_id(self) -> int:
        """Number of ID rows N."""
        return int(self.id_counts.sum())

    @property
    def num_ood(self) -> int:
        """Number of OOD rows M."""
        return int(self.ood_counts.sum())

    def sweep(self, positive: Positive) -> Sweep:
        """Cumulative counts with one side called positive.

        Args:
            positive: "ood" flags high scores, "id" accepts low scores.

        Raises:
            ConfigError: If `positive` is another word.
        """
        if positive == "ood":
            return Sweep(self.thresholds, self.ood_counts.cumsum(), self.id_counts.cumsum())
        if positive == "id":
            rising = self.thresholds[::-1]
            return Sweep(rising, self.id_counts[::-1].cumsum(), self.ood_counts[::-1].cumsum())
        raise ConfigError(f"positive is {positive!r}; say which side is positive: 'ood' or 'id'.")

    def levels(self, scores: Values) -> Counts:
        """Position of each score in `thresholds`, [K]; the scores must be ranked ones."""
        rising = np.searchsorted(self.thresholds[::-1], scores)
        return len(self.thresholds) - 1 - rising


def rank(id_scores: ArrayLike, ood_scores: ArrayLike) -> Ranking:
    """Sort both sides together, O((N + M) log(N + M)).

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD, float32 or wider.
        ood_scores: Scores of OOD rows, [M].

    Returns:
        Counts of both sides at each distinct score.

    Raises:
        DataError: If a side is empty, not 1-d, narrower than float32, or not finite.
    """
    id_values = _checked("id_scores", id_scores)
    ood_values = _checked("ood_scores", ood_scores)
    joined = np.concatenate([id_values, ood_values])
    order = np.argsort(joined)[::-1]
    falling = joined[order]
    last_of_level = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    num_id = np.cumsum(order < len(id_values), dtype=np.int64)[last_of_level]
    num_both = last_of_level + 1
    return Ranking(
        thresholds=falling[last_of_level],
        id_counts=np.diff(num_id, prepend=0),
        ood_counts=np.diff(num_both - num_id, prepend=0),
    )


def redraw(levels: Counts, num_levels: int, rng: np.random.Generator) -> Counts:
    """Counts at each distinct score after drawing as many rows with replacement.

    Args:
        levels: Position of each row's score in `thresholds`, [K]; may be empty.
        num_levels: Number of distinct scores T.
        rng: Source of the draw.

    Returns:
        Rows at each distinct score, [T] int64, sum K.
    """
    if len(levels) == 0:
        return np.zeros(num_levels, dtype=np.int64)
    return np.bincount(levels[rng.integers(0, len(levels), len(levels))], minlength=num_levels)


def _checked(name: str, scores: ArrayLike) -> Values:
    values = np.asarray(scores)
    if values.ndim != 1:
        raise DataError(f"{name} has shape {values.shape}; scores are one list [N] per side.")
    if len(values) == 0:
        raise DataError(f"{name} is empty; a metric needs at least one row on each side.")
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        raise DataError(
            f"{name} is {values.dtype}; give float32 or wider, because coarse scores tie and "
            "ties move FPR and precision. Compute the scores again instead of widening them."
        )
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{name} has {bad.sum()} of {len(values)} rows that are NaN or infinite (first: row "
            f"{row}, {values[row]}); such rows have no rank. Find out why the method gave them."
        )
    return values
