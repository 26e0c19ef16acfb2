"""Bootstrap intervals: how far the choice of test images alone moves a metric."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError
from ltood.core.prior import GROUPS
from ltood.evaluation.comparison import Comparison
from ltood.evaluation.measures import Evaluation, id_metrics
from ltood.metrics import METRICS, redraw

RESAMPLED: tuple[str, ...] = tuple(key for key, metric in METRICS.items() if metric.is_main)
ACCURACIES: tuple[str, ...] = ("accuracy", *GROUPS)
#: Draws of an interval.
SAMPLES = 200

Intervals = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Draws:
    """Values of metrics over drawn rows, in fractions; NaN where nothing of a group was drawn.

    Equal rows see equal draws, so that the difference of two draws is paired by image.

    Attributes:
        id: Accuracies (`ACCURACIES`), [S, 4].
        ood: Main metrics (`RESAMPLED`) of each OOD set, [S, K], by its name.
    """

    id: NDArray[np.float64]
    ood: Mapping[str, NDArray[np.float64]]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Main metrics, mean over the OOD sets, of which there is one or more, [S, K]."""
        mean: NDArray[np.float64] = np.mean([*self.ood.values()], axis=0)
        return mean


def draws(evaluation: Evaluation, *, samples: int = SAMPLES, seed: int = 0) -> Draws:
    """Metrics of test, relabelled and OOD rows that are each drawn with replacement.

    All OOD sets see the same draws of test rows, so that the mean keeps what they share.

    Args:
        evaluation: Scores of the test split and of OOD sets.
        samples: Number S of draws, at least 2.
        seed: Equal seeds give equal draws of equally many rows.

    Raises:
        ConfigError: If there are fewer than 2 samples or the seed is negative.
        StoreError: If the test split or the class counts are missing.
        DataError: If scores break a rule.
    """
    if samples < 2 or seed < 0:
        raise ConfigError(
            f"samples is {samples} and seed is {seed}; an interval needs at least 2 samples "
            f"({SAMPLES} is usual) and a seed of 0 or more."
        )
    test, prior = evaluation.test, evaluation.prior
    resampled = [_Resampled(comparison) for comparison in evaluation.comparisons]
    id_values = np.empty((samples, len(ACCURACIES)))
    per_set_values = np.empty((len(resampled), samples, len(RESAMPLED)))
    for sample in range(samples):
        rows = np.random.default_rng([seed, sample]).integers(0, len(test), len(test))
        shares = id_metrics(test.predictions[rows], test.labels[rows], prior)
        # A group that is not drawn has no accuracy; None becomes NaN.
        id_values[sample] = [shares[key] for key in ACCURACIES]
        for place, item in enumerate(resampled):
            own = np.random.default_rng([seed, sample, item.seed])
            per_set_values[place, sample] = item.draw(rows, own)
    names = [item.name for item in resampled]
    return Draws(id_values, dict(zip(names, per_set_values, strict=True)))


def bootstrap(evaluation: Evaluation, *, samples: int = SAMPLES, seed: int = 0) -> dict[str, Any]:
    """Intervals of the accuracies and of the main metrics, from `draws`.

    Training is not repeated: seeds of the training add to these intervals.

    Args:
        evaluation: Scores of the test split and of OOD sets.
        samples: Number of draws, at least 2.
        seed: Equal seeds give equal intervals.

    Returns:
        `{"id": {KEY: {"low", "high", "std"}}, "ood": {NAME: {KEY: ...}}, "mean": {...}}` in
        fractions: the 2.5 and 97.5 percentiles and the standard deviation over the draws.
        A group of classes without test rows has none, and without OOD sets there is `id` alone.

    Raises:
        ConfigError: If there are fewer than 2 samples or the seed is negative.
        StoreError: If the test split or the class counts are missing.
        DataError: If scores break a rule.
    """
    return intervals_of(draws(evaluation, samples=samples, seed=seed))


def intervals_of(drawn: Draws) -> dict[str, Any]:
    """Intervals of draws, as `bootstrap` gives them."""
    found: dict[str, Any] = {"id": _intervals(ACCURACIES, drawn.id)}
    if drawn.ood:
        found["ood"] = {name: _intervals(RESAMPLED, values) for name, values in drawn.ood.items()}
        found["mean"] = _intervals(RESAMPLED, drawn.mean)
    return found


def uncertainty(evaluation: Evaluation) -> dict[str, Any]:
    """Intervals of `bootstrap`; of streams, whose rows depend on one another, deviations instead.

    Returns:
        As `bootstrap`; of streams `{"std": ...}` over the orders for each metric of `ood` and
        `mean`, nothing where there is one order.

    Raises:
        StoreError: If the test split or the class counts are missing.
        DataError: If scores break a rule.
    """
    if evaluation.orders is None:
        return bootstrap(evaluation)
    if "stream" not in evaluation.metrics:
        return {"id": {}}
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
