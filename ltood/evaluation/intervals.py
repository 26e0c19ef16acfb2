"""Bootstrap intervals: how far the choice of test images alone moves a metric."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError
from ltood.core.prior import GROUPS
from ltood.evaluation.comparison import Comparison
from ltood.evaluation.measures import Evaluation, id_metrics
from ltood.metrics import METRICS, redraw

RESAMPLED = tuple(key for key, metric in METRICS.items() if metric.is_main)
_ACCURACIES = ("accuracy", *GROUPS)

Intervals = dict[str, dict[str, float]]


def bootstrap(evaluation: Evaluation, *, samples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Intervals of the accuracies and of the main metrics.

    Test, relabelled and OOD rows are each drawn with replacement. All OOD sets see the
    same draws of test rows, so that the interval of the mean keeps what they share.
    Training is not repeated: seeds of the training add to these intervals.

    Args:
        evaluation: Scores of the test split and of at least one OOD set.
        samples: Number of draws, at least 2.
        seed: Equal seeds give equal intervals.

    Returns:
        `{"id": {KEY: {"low", "high", "std"}}, "ood": {NAME: {KEY: ...}}, "mean": {...}}` in
        fractions: the 2.5 and 97.5 percentiles and the standard deviation over the draws.
        A group of classes without test rows has none.

    Raises:
        ConfigError: If there are fewer than 2 samples or the seed is negative.
        StoreError: If the test split, every OOD set or the class counts are missing.
        DataError: If scores break a rule.
    """
    if samples < 2 or seed < 0:
        raise ConfigError(
            f"samples is {samples} and seed is {seed}; an interval needs at least 2 samples "
            "(200 is usual) and a seed of 0 or more."
        )
    test, prior = evaluation.test, evaluation.prior
    resampled = [_Resampled(comparison) for comparison in evaluation.comparisons]
    id_values = np.empty((samples, len(_ACCURACIES)))
    per_set_values = np.empty((len(resampled), samples, len(RESAMPLED)))
    for sample in range(samples):
        rows = np.random.default_rng([seed, sample]).integers(0, len(test), len(test))
        shares = id_metrics(test.predictions[rows], test.labels[rows], prior)
        # A group that is not drawn has no accuracy; None becomes NaN.
        id_values[sample] = [shares[key] for key in _ACCURACIES]
        for place, item in enumerate(resampled):
            own = np.random.default_rng([seed, sample, item.seed])
            per_set_values[place, sample] = item.draw(rows, own)
    per_set = zip(resampled, per_set_values, strict=True)
    return {
        "id": _intervals(_ACCURACIES, id_values),
        "ood": {item.name: _intervals(RESAMPLED, values) for item, values in per_set},
        "mean": _intervals(RESAMPLED, per_set_values.mean(axis=0)),
    }


def uncertainty(evaluation: Evaluation) -> dict[str, Any]:
    """Intervals of `bootstrap`; of streams, whose rows depend on one another, deviations instead.

    Returns:
        As `bootstrap`; of streams `{"std": ...}` over the orders for each metric of `ood` and
        `mean`, nothing where there is one order.

    Raises:
        StoreError: If the test split, every OOD set or the class counts are missing.
        DataError: If scores break a rule.
    """
    if evaluation.orders is None:
        return bootstrap(evaluation)
    std = evaluation.metrics["stream"]["std"]
    return {
        "id": {},
        "ood": {name: _deviations(values) for name, values in std["ood"].items()},
        "mean": _deviations(std["mean"]),
    }


def _deviations(values: Mapping[str, float | None]) -> Intervals:
    return {key: {"std": value} for key, value in values.items() if value is not None}


class _Resampled:
    """One comparison, prepared for many draws of its rows."""

    def __init__(self, comparison: Comparison) -> None:
        self.name = comparison.name
        #: Draws of a set do not depend on which other sets there are.
        self.seed = zlib.crc32(comparison.name.encode())
        self._ranking = comparison.ranking
        levels = self._ranking.levels
        self._test = levels(comparison.test.scores)
        self._relabelled = levels(comparison.relabelled.scores)
        self._ood = levels(comparison.ood.scores)

    def draw(self, test_rows: NDArray[np.int64], own: np.random.Generator) -> list[float]:
        """Metrics of the drawn test rows and of other rows drawn by `own`."""
        number = len(self._ranking.thresholds)
        id_counts = np.bincount(self._test[test_rows], minlength=number)
        id_counts += redraw(self._relabelled, number, own)
        ood_counts = redraw(self._ood, number, own)
        drawn = replace(self._ranking, id_counts=id_counts, ood_counts=ood_counts)
        return [METRICS[key].function(drawn) for key in RESAMPLED]


def _intervals(keys: Sequence[str], values: NDArray[np.float64]) -> Intervals:
    """Percentiles and deviation of drawn values, [S, K], of keys that were drawn twice or more."""
    found: Intervals = {}
    for key, column in zip(keys, values.T, strict=True):
        drawn = column[~np.isnan(column)]
        if len(drawn) >= 2:
            low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
            found[key] = {"low": low, "high": high, "std": float(drawn.std(ddof=1))}
    return found
