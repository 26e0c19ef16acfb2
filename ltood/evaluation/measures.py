"""Scores to metrics: every convention for every OOD set, and intervals.

Works on anything with the interface of `ltood.store.scores.ScoreStore`; needs no torch.
Rows of an OOD set that carry a class label (`sc_label` of semantically coherent sets)
show an ID class: their scores count on the ID side, but they do not enter the accuracy.
All values are fractions.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, StoreError
from ltood.core.prior import GROUPS, ClassPrior
from ltood.metrics import METRICS, Ranking, accuracy, fpr_at_tpr, ood_rows, rank, redraw
from ltood.runtime.files import to_json_bytes, write_atomically
from ltood.store.layout import OOD_PREFIX
from ltood.store.scores import ScoreSplit

Numbers = dict[str, float | None]

_RESAMPLED = ("auroc", "fpr95_ood_pos", "fpr95_id_pos")


class ScoreSource(Protocol):
    """What evaluation reads: a score store, or the same held in memory."""

    @property
    def splits(self) -> list[str]:
        """Split names, such as test and ood_svhn."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """At least class_counts; class_names where classes have names."""

    def split(self, name: str, /) -> ScoreSplit:
        """Scores, predictions, labels and ids of one split."""


@dataclass(frozen=True)
class _OodSet:
    """One OOD set beside the ID test rows."""

    name: str  # Without the prefix "ood_".
    ranking: Ranking  # ID rows (test and relabelled) against OOD rows.
    relabelled: ScoreSplit  # Rows of the set that show an ID class.
    ood: ScoreSplit  # The other rows.

    @property
    def threshold(self) -> float:
        """Scores from here on are flagged by the rule of `fpr95_ood_pos`."""
        return fpr_at_tpr.operating_point(self.ranking, positive="ood").threshold


def evaluate(store: ScoreSource) -> dict[str, Any]:
    """Compute all metrics.

    Args:
        store: Scores of the test split and of at least one OOD set.

    Returns:
        `{"id": {...}, "ood": {NAME: {...}}, "mean": {...}}` in fractions; a group of
        classes without test rows is None. The mean gives each OOD set the same weight.

    Raises:
        StoreError: If the test split, every OOD set or the class counts are missing.
        DataError: If scores or labels break a rule.
    """
    prior, test = _prior(store), _test(store)
    of_sets: dict[str, dict[str, float]] = {}
    for ood_set in _ood_sets(store, test):
        values = {key: metric.function(ood_set.ranking) for key, metric in METRICS.items()}
        values["num_id"] = ood_set.ranking.num_id
        values["num_ood"] = ood_set.ranking.num_ood
        values["num_relabelled"] = len(ood_set.relabelled)
        of_sets[ood_set.name] = values
    keys = (*METRICS, "num_id", "num_ood", "num_relabelled")
    return {
        "id": {
            "accuracy": accuracy.accuracy(test.predictions, test.labels),
            **accuracy.by_group(test.predictions, test.labels, prior),
        },
        "ood": of_sets,
        "mean": {key: float(np.mean([values[key] for values in of_sets.values()])) for key in keys},
    }


def breakdown(store: ScoreSource) -> dict[str, Any]:
    """Where the long tail pays: per class, and errors at the FPR95 threshold by group.

    The threshold is that of `fpr95_ood_pos`, chosen for each OOD set.

    Returns:
        `classes`: name, group, training and test rows and accuracy of each class;
        `false_alarms`: see `false_alarms`; `missed_ood`: for each OOD set the number of
        OOD rows below the threshold and the shares predicted as classes of each group
        (None where none is missed).

    Raises:
        StoreError: If the test split, every OOD set or the class counts are missing.
        DataError: If scores, labels or predictions break a rule.
    """
    prior, test = _prior(store), _test(store)
    shares = accuracy.per_class(test.predictions, test.labels, prior.num_classes)
    test_counts = np.bincount(test.labels, minlength=prior.num_classes)
    names = store.attributes.get("class_names") or list(range(prior.num_classes))
    groups = prior.groups()
    classes = [
        {
            "name": str(name),
            "group": str(group),
            "num_train": int(num_train),
            "num_test": int(num_test),
            "accuracy": None if np.isnan(share) else float(share),
        }
        for name, group, num_train, num_test, share in zip(
            names, groups, prior.counts, test_counts, shares, strict=True
        )
    ]
    missed: dict[str, Numbers] = {}
    for ood_set in _ood_sets(store, test):
        threshold = ood_set.threshold
        below = ood_set.ood.predictions[ood_set.ood.scores < threshold]
        accuracy.check_classes(below, prior.num_classes, f"predictions of {ood_set.name}")
        found = groups[below]
        missed[ood_set.name] = {
            "num_missed": len(below),
            **{group: _share(found == group) for group in GROUPS},
        }
    return {"classes": classes, "false_alarms": false_alarms(store), "missed_ood": missed}


def false_alarms(store: ScoreSource) -> dict[str, Numbers]:
    """Share of ID rows flagged at the `fpr95_ood_pos` threshold, by group of their class.

    Returns:
        For each OOD set `all` (equal to `fpr95_ood_pos`), `many`, `medium` and `few`,
        fractions of the group's ID rows (relabelled rows included); None without such rows.

    Raises:
        StoreError: If the test split, every OOD set or the class counts are missing.
        DataError: If scores or labels break a rule.
    """
    prior, test = _prior(store), _test(store)
    groups = prior.groups()
    shares: dict[str, Numbers] = {}
    for ood_set in _ood_sets(store, test):
        threshold = ood_set.threshold
        flagged = np.concatenate([test.scores, ood_set.relabelled.scores]) >= threshold
        labels = np.concatenate([test.labels, ood_set.relabelled.labels])
        accuracy.check_classes(labels, prior.num_classes, f"ID labels beside {ood_set.name}")
        found = groups[labels]
        shares[ood_set.name] = {
            "all": _share(flagged),
            **{group: _share(flagged[found == group]) for group in GROUPS},
        }
    return shares


def bootstrap(store: ScoreSource, *, samples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Bootstrap intervals: how far test images alone move AUROC and FPR95.

    Test, relabelled and OOD rows are each drawn with replacement. All OOD sets see the same
    draws of test rows, so that the interval of the mean keeps what they share. Training
    is not repeated: seeds of the training add to these intervals.

    Args:
        store: Scores of the test split and of at least one OOD set.
        samples: Number of draws, at least 2.
        seed: Equal seeds give equal intervals.

    Returns:
        `{"ood": {NAME: {KEY: {"low", "high", "std"}}}, "mean": {...}}` in fractions: the
        2.5 and 97.5 percentiles and the standard deviation over the draws.

    Raises:
        ConfigError: If there are fewer than 2 samples or the seed is negative.
        StoreError: If the test split or every OOD set is missing.
        DataError: If scores break a rule.
    """
    if samples < 2 or seed < 0:
        raise ConfigError(
            f"samples is {samples} and seed is {seed}; an interval needs at least 2 samples "
            "(200 is usual) and a seed of 0 or more."
        )
    test = _test(store)
    drawn: dict[str, NDArray[np.float64]] = {}
    for ood_set in _ood_sets(store, test):
        ranking, levels = ood_set.ranking, len(ood_set.ranking.thresholds)
        sides = [ranking.levels(rows.scores) for rows in (test, ood_set.relabelled, ood_set.ood)]
        values = np.empty((samples, len(_RESAMPLED)))
        for sample in range(samples):
            shared = np.random.default_rng([seed, sample])
            own = np.random.default_rng([seed, sample, zlib.crc32(ood_set.name.encode())])
            drawn_id = redraw(sides[0], levels, shared) + redraw(sides[1], levels, own)
            drawn_ood = redraw(sides[2], levels, own)
            redrawn = replace(ranking, id_counts=drawn_id, ood_counts=drawn_ood)
            values[sample] = [METRICS[key].function(redrawn) for key in _RESAMPLED]
        drawn[ood_set.name] = values
    of_sets = {name: _intervals(values) for name, values in drawn.items()}
    return {"ood": of_sets, "mean": _intervals(np.mean(list(drawn.values()), axis=0))}


def write_metrics(path: Path | str, metrics: Mapping[str, Any]) -> None:
    """Write metrics as JSON with sorted keys; a crash leaves the old file or none."""
    write_atomically(Path(path), to_json_bytes(metrics))


def _prior(store: ScoreSource) -> ClassPrior:
    if "class_counts" not in store.attributes:
        raise StoreError("the score store has no class_counts; run the score stage again.")
    return ClassPrior(np.asarray(store.attributes["class_counts"], dtype=np.int64))


def _test(store: ScoreSource) -> ScoreSplit:
    if "test" not in store.splits:
        raise StoreError(
            f"the scores have no split test (only {', '.join(store.splits)}); score the test "
            "split too, its rows are the ID side."
        )
    return store.split("test")


def _ood_sets(store: ScoreSource, test: ScoreSplit) -> Iterable[_OodSet]:
    """Read and rank the OOD sets one after the other."""
    names = [name for name in store.splits if name.startswith(OOD_PREFIX)]
    if not names:
        raise StoreError(
            f"the scores have no OOD set (only {', '.join(store.splits)}); score at least one "
            f"split named {OOD_PREFIX}<name>."
        )
    for name in names:
        split = store.split(name)
        is_ood = ood_rows(split.labels, name)
        relabelled, ood = _select(split, ~is_ood), _select(split, is_ood)
        ranking = rank(np.concatenate([test.scores, relabelled.scores]), ood.scores)
        yield _OodSet(name.removeprefix(OOD_PREFIX), ranking, relabelled, ood)


def _select(split: ScoreSplit, chosen: NDArray[np.bool_]) -> ScoreSplit:
    return ScoreSplit(
        split.scores[chosen], split.predictions[chosen], split.labels[chosen], split.ids[chosen]
    )


def _share(chosen: NDArray[np.bool_]) -> float | None:
    return int(chosen.sum()) / len(chosen) if len(chosen) else None


def _intervals(values: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Percentiles and deviation of drawn metrics, [S, K]."""
    low, high = np.quantile(values, [0.025, 0.975], axis=0).tolist()
    table = zip(_RESAMPLED, low, high, values.std(axis=0, ddof=1).tolist(), strict=True)
    return {key: {"low": a, "high": b, "std": deviation} for key, a, b, deviation in table}
