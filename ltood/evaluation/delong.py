"""Intervals of the mean AUROC of many detectors, and of what separates them from the best one.

All detectors score the same rows, so that their errors go together: a difference is known far
better than either side of it. The share of rows on the other side that a row is ranked rightly
against has the AUROC as its mean, and the covariances of these shares over the rows are those of
the AUROCs. No row is drawn at random, and each score is sorted once.

Source: DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated
Receiver Operating Characteristic Curves: A Nonparametric Approach", Biometrics 1988. Here a mean
over OOD sets is taken, which share their test rows; relabelled rows of a set are ID rows of their
own.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ltood.metrics import ood_rows
from ltood.store.scores import ScoreSplit

Values = NDArray[np.float64]
K = TypeVar("K", bound=Hashable)

#: 97.5 % of a normal distribution lie below it.
_QUANTILE = 1.959963984540054
#: Decimals of fractions that are kept: finer than any table, coarser than the order of sums.
_DECIMALS = 8


class AurocSpread(Generic[K]):
    """Takes the scores of detectors set by set; keeps one number for each test row and detector."""

    def __init__(self) -> None:
        """Start without rows."""
        self._test: dict[K, Values] = {}
        self._num_test = 0
        self._covariances: list[tuple[dict[K, int], Values]] = []

    def add(self, name: str, test: Mapping[K, ScoreSplit], rows: Mapping[K, ScoreSplit]) -> None:
        """Add an OOD set.

        Args:
            name: Its split, such as "ood_svhn".
            test: Scores of the test rows by detector.
            rows: Scores of the set by detector; those of detectors that failed may be missing.

        Raises:
            DataError: If every row of the set carries a class label.
        """
        places = {key: place for place, key in enumerate(rows)}
        if not places:
            return
        is_ood = ood_rows(next(iter(rows.values())).labels, name)
        outlier_shares, known_shares = [], []
        for key, scored in rows.items():
            own = test[key].scores
            known = np.concatenate([own, scored.scores[~is_ood]])
            of_known, of_outliers = shares_right(known, scored.scores[is_ood])
            weight = len(own) / len(known)
            self._num_test = len(own)
            self._test[key] = self._test.get(key, 0.0) + weight * of_known[: len(own)]
            known_shares.append((1 - weight) * of_known[len(own) :])
            outlier_shares.append(of_outliers)
        # Relabelled and OOD rows are drawn apart, and belong to no other set.
        covariance = _of_mean(outlier_shares) + _of_mean(known_shares)
        self._covariances.append((places, covariance))

    def of(self, means: Mapping[K, float]) -> dict[K, dict[str, Any]]:
        """Intervals of detectors that scored every set.

        Args:
            means: Mean AUROC by detector; the first of the largest is the best one.

        Returns:
            By detector `{"auroc": {"low", "high", "std"}, "behind_best": {"mean", "low", "high"}}`
            in fractions: 95 % intervals of its mean AUROC and of how far it is behind the best
            detector, which is significant where `low` is above 0. None where a set has one row.
        """
        keys, sets = list(means), len(self._covariances)
        covariance = _of_mean([self._test[key] / sets for key in keys])
        for places, own in self._covariances:
            chosen = [places[key] for key in keys]
            covariance += own[np.ix_(chosen, chosen)] / sets**2
        at = max(range(len(keys)), key=lambda place: means[keys[place]])
        variances = np.diag(covariance)
        gaps = variances + variances[at] - 2 * covariance[at]
        gaps[at] = 0.0
        top = means[keys[at]]
        return {
            key: {
                "auroc": {**_interval(means[key], own, 0.0), "std": _root(own)},
                "behind_best": {"mean": top - means[key], **_interval(top - means[key], gap, -1.0)},
            }
            for key, own, gap in zip(keys, variances.tolist(), gaps.tolist(), strict=True)
        }


def shares_right(known: NDArray[Any], outliers: NDArray[Any]) -> tuple[Values, Values]:
    """Share of the other side that each row is ranked rightly against; ties count half.

    Args:
        known: Scores of ID rows, [N].
        outliers: Scores of OOD rows, [M].

    Returns:
        Of the ID rows, [N], and of the OOD rows, [M]; the mean of either is the AUROC.
    """
    below, above = np.sort(known), np.sort(outliers)
    of_known = 1 - _halves(above, known) / len(above)
    return of_known, _halves(below, outliers) / len(below)


def _halves(ordered: NDArray[Any], values: NDArray[Any]) -> Values:
    """Rows below each value, of which equal ones count half, [N]."""
    less, not_more = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    found: Values = (less + not_more) / 2
    return found


def _of_mean(shares: Sequence[Values]) -> Values:
    """Covariances of the means of rows, [R, R]; NaN of one row, 0 without rows."""
    rows = np.stack(shares)
    if rows.shape[1] == 0:
        return np.zeros((len(rows), len(rows)))
    if rows.shape[1] == 1:
        return np.full((len(rows), len(rows)), np.nan)
    centred = rows - rows.mean(axis=1, keepdims=True)
    found: Values = centred @ centred.T / ((rows.shape[1] - 1) * rows.shape[1])
    return found


def _root(variance: float) -> float | None:
    """Deviation of a variance that rounding may have put below 0; None where it is not known."""
    return None if math.isnan(variance) else round(math.sqrt(max(variance, 0.0)), _DECIMALS)


def _interval(mean: float, variance: float, least: float) -> dict[str, float | None]:
    """Interval of 95 % about a mean that lies between `least` and 1."""
    std = _root(variance)
    if std is None:
        return {"low": None, "high": None}
    low, high = max(mean - _QUANTILE * std, least), min(mean + _QUANTILE * std, 1.0)
    return {"low": round(low, _DECIMALS), "high": round(high, _DECIMALS)}
