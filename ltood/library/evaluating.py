"""Metrics of scores, under the keys that files and tables use."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ltood.core.arrays import Rows, as_array
from ltood.core.errors import DataError
from ltood.metrics import mean_over, measure, rank


class Metrics(Mapping[str, float]):
    """Metrics by key, in fractions; of several OOD sets their mean.

    Attributes:
        per_set: Metrics of each OOD set by its name; empty where the set has no name.
    """

    def __init__(
        self, values: Mapping[str, float], per_set: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Wrap computed metrics; see `evaluate`."""
        self._values, self.per_set = dict(values), {n: dict(v) for n, v in per_set.items()}

    def __getitem__(self, key: str) -> float:
        """Metric `key`, such as "auroc"."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Keys in the order of tables."""
        return iter(self._values)

    def __len__(self) -> int:
        """Number of metrics."""
        return len(self._values)

    def __repr__(self) -> str:
        """A table: one line for each metric, and a column for the mean and for each set."""
        sets = {"mean" if self.per_set else "": self._values, **self.per_set}
        left = max(map(len, self._values))
        wide = [max(len(name), 6) for name in sets]
        heading = [" " * left, *(name.rjust(w) for name, w in zip(sets, wide, strict=True))]
        rows = [
            [key.ljust(left)]
            + [f"{v[key]:.4f}".rjust(w) for v, w in zip(sets.values(), wide, strict=True)]
            for key in self._values
        ]
        return "\n".join("  ".join(row) for row in ([heading] if self.per_set else []) + rows)


def evaluate(id_scores: Rows, ood_scores: Rows | Mapping[str, Rows]) -> Metrics:
    """Every metric of ltood, by its key in `metrics.json`.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        ood_scores: Scores of OOD rows, [M], or of several OOD sets by name.

    Returns:
        Fractions by key, such as `auroc` and `fpr95_ood_pos`. Of several sets it is the mean,
        in which each set has the same weight, and `per_set` holds each.

    Raises:
        DataError: If a side is empty, not one list, narrower than float32 or not finite.

    Example:
        >>> evaluate([0.1, 0.2, 0.3, 0.4], [0.35, 0.5, 0.6])["auroc"]
        0.9166666666666666
    """
    known = _scores(id_scores, "id_scores")
    if not isinstance(ood_scores, Mapping):
        return Metrics(_metrics(known, ood_scores, "ood_scores"), {})
    if not ood_scores:
        raise DataError("ood_scores name no OOD set; give the scores of at least one.")
    per_set = {name: _metrics(known, rows, name) for name, rows in ood_scores.items()}
    return Metrics(mean_over(per_set.values()), per_set)


def _metrics(known: NDArray[np.floating], rows: Rows, what: str) -> dict[str, float]:
    return measure(rank(known, _scores(rows, what)))


def _scores(values: Rows, what: str) -> NDArray[np.floating]:
    scores: NDArray[np.floating] = as_array(values, what)
    return scores
