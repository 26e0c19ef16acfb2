"""Scores to metrics: every convention for every OOD set.

Works on anything with the interface of `ltood.store.scores.ScoreStore`; needs no torch.
All values are fractions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ltood.core.errors import StoreError
from ltood.core.prior import ClassPrior
from ltood.evaluation.comparison import Comparison, Shares, joined
from ltood.evaluation.config import SetGroups
from ltood.evaluation.groups import summed_up
from ltood.evaluation.orders import Orders, failures_in_order, mean_alarms, over_orders
from ltood.metrics import accuracy, augrc, aurc
from ltood.metrics.accuracy import Classes
from ltood.runtime.provenance import digest
from ltood.store.layout import CSID_PREFIX, OOD_PREFIX
from ltood.store.scores import ScoreSplit

#: Provenance attributes of scores that metrics and report show.
_RECORDED = (
    "method",
    "calibrator",
    "normaliser",
    "features_fingerprint",
    "class_counts",
    "class_names",
)


class ScoreSource(Protocol):
    """Input of evaluation: a score store, or the same held in memory."""

    @property
    def splits(self) -> list[str]:
        """Split names, such as test and ood_svhn."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """At least class_counts; class_names where classes have names."""

    def split(self, name: str, /) -> ScoreSplit:
        """Scores, predictions, labels and ids of one split."""


class Evaluation:
    """Scores of the test split and of every OOD set: each read and ranked at most once.

    Metrics, breakdown, intervals, plots and the report read the same evaluation.
    """

    def __init__(self, scores: ScoreSource, groups: SetGroups | None = None) -> None:
        """Evaluate scores; nothing is read before it is needed.

        Args:
            scores: Scores of the test split and of OOD sets; without any, what is measured are
                the ID rows by themselves.
            groups: OOD sets over which further means are taken.
        """
        self.scores = scores
        self.groups = groups or SetGroups()

    @cached_property
    def prior(self) -> ClassPrior:
        """Training counts of the classes.

        Raises:
            StoreError: If the scores do not record them.
        """
        if "class_counts" not in self.scores.attributes:
            raise StoreError("the score store has no class_counts; run the score stage again.")
        return ClassPrior(np.asarray(self.scores.attributes["class_counts"], dtype=np.int64))

    @cached_property
    def test(self) -> ScoreSplit:
        """ID test rows.

        Raises:
            StoreError: If there is no split test.
        """
        if "test" not in self.scores.splits:
            raise StoreError(
                f"the scores have no split test (only {', '.join(self.scores.splits)}); score the "
                "test split too, its rows are the ID side."
            )
        return self.scores.split("test")

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The test rows against each OOD set; those of streams in their first order.

        Empty without OOD sets.

        Raises:
            StoreError: If the test split is missing.
            DataError: If an OOD set has no OOD rows.
        """
        if self.orders is not None:
            return tuple(items[0] for items in self.by_order.values())
        test = self.test
        return tuple(Comparison.of(name, test, self.scores.split(name)) for name in self._sets())

    def _sets(self) -> list[str]:
        """Splits of OOD sets."""
        return [name for name in self.scores.splits if name.startswith(OOD_PREFIX)]

    @cached_property
    def orders(self) -> Orders | None:
        """What the streams of transductive scores are; None for other scores."""
        return Orders.of(self.scores.attributes)

    @cached_property
    def by_order(self) -> dict[str, list[Comparison]]:
        """The test rows against each OOD set in each order of its stream, by name of the set.

        Empty where scores need no stream, and without OOD sets.

        Raises:
            StoreError: If the test split is missing, or a set has no OOD rows in one of the orders.
            DataError: If an OOD set has no OOD rows.
        """
        if self.orders is None:
            return {}
        found: dict[str, list[Comparison]] = {}
        test = self.test
        for name in self._sets():
            items = self.orders.compare(name, test, self.scores.split(name))
            found[items[0].name] = items
        return found

    @cached_property
    def shifted(self) -> dict[str, ScoreSplit]:
        """Rows of ID classes under covariate shift, by the name of their set."""
        names = [name for name in self.scores.splits if name.startswith(CSID_PREFIX)]
        return {name.removeprefix(CSID_PREFIX): self.scores.split(name) for name in names}

    @cached_property
    def full_spectrum(self) -> tuple[Comparison, ...]:
        """Test rows and all rows under covariate shift together, against each OOD set.

        Empty where there are none of the latter. The protocol is that of Yang et al.,
        "Full-Spectrum Out-of-Distribution Detection", IJCV 2023.
        """
        if not self.shifted:
            return ()
        known = joined([self.test, *self.shifted.values()])
        return tuple(replace(item, test=known) for item in self.comparisons)

    @cached_property
    def id_metrics(self) -> Shares:
        """Accuracy of the test rows, over all of them and by group of classes.

        Raises:
            StoreError: If the test split or the class counts are missing.
            DataError: If labels or predictions break a rule.
        """
        return id_metrics(self.test.predictions, self.test.labels, self.prior)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """All metrics.

        Returns:
            `{"id": {...}, "failures": {...}, "ood": {NAME: {...}}, "mean": {...}}` in fractions;
            one without rows is None. Means give each OOD set the same weight; without OOD sets
            there is neither `ood` nor `mean`, nor what follows from them. With groups of sets
            there is `{"groups": {GROUP: {...}}}`, and with rows under covariate shift
            `{"csid": {NAME: {...}}, "full_spectrum": {"ood", "mean", "groups"}}`. Scores of streams
            have means over the orders, and `{"stream": {...}}`; see `over_orders`.

        Raises:
            StoreError: If the test split or the class counts are missing.
            DataError: If scores or labels break a rule, or a group names a set that is not there.
        """
        if self.orders is not None:
            failures = failures_in_order(self.test)
            measured = over_orders(self.by_order, self.orders, self.groups)
            return {"id": self.id_metrics, "failures": failures, **measured}
        per_set = {item.name: item.metrics for item in self.comparisons}
        full = {item.name: item.metrics for item in self.full_spectrum}
        return sections(self.test, self.shifted, per_set, full, self.groups, self.prior)

    @cached_property
    def false_alarms(self) -> dict[str, Shares]:
        """`Comparison.false_alarms` of each OOD set; of streams the mean over the orders."""
        if self.orders is not None:
            return {name: mean_alarms(of, self.prior) for name, of in self.by_order.items()}
        return {item.name: item.false_alarms(self.prior) for item in self.comparisons}

    @cached_property
    def breakdown(self) -> dict[str, Any]:
        """Results per class, and errors at the FPR95 threshold by class group.

        Returns:
            `classes`: name, group, training and test rows and accuracy of each class;
            `false_alarms` and `missed_ood` by OOD set, see `Comparison`.

        Raises:
            StoreError: If the test split or the class counts are missing.
            DataError: If scores, labels or predictions break a rule.
        """
        prior, test = self.prior, self.test
        shares = accuracy.per_class(test.predictions, test.labels, prior.num_classes)
        columns = (
            self.scores.attributes.get("class_names") or range(prior.num_classes),
            prior.groups(),
            prior.counts,
            np.bincount(test.labels, minlength=prior.num_classes),
            shares,
        )
        classes = [
            {
                "name": str(name),
                "group": str(group),
                "num_train": int(num_train),
                "num_test": int(num_test),
                "accuracy": None if np.isnan(share) else float(share),
            }
            for name, group, num_train, num_test, share in zip(*columns, strict=True)
        ]
        missed = {item.name: item.missed_ood(prior) for item in self.comparisons}
        return {"classes": classes, "false_alarms": self.false_alarms, "missed_ood": missed}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rows that metrics come from, and of what made them."""
        parts = {"test": self.test}
        parts |= {f"{name} shifted": rows for name, rows in self.shifted.items()}
        for item in self.comparisons:
            parts |= {f"{item.name} relabelled": item.relabelled, f"{item.name} ood": item.ood}
        for name, items in self.by_order.items():
            for number, one in enumerate(items):
                sides = {"test": one.test, "relabelled": one.relabelled, "ood": one.ood}
                parts |= {f"{name} {side} {number}": rows for side, rows in sides.items()}
        rows = hashlib.sha256()
        for name, part in sorted(parts.items()):
            rows.update(f"{name} {len(part)}\n".encode())
            for array in (part.scores, part.predictions, part.labels, part.ids):
                rows.update(np.ascontiguousarray(array).tobytes())
        recorded = {key: self.scores.attributes.get(key) for key in _RECORDED}
        if self.groups.sets:
            recorded["groups"] = self.groups.plain()
        return digest({**recorded, "rows": rows.hexdigest()})


def id_metrics(predictions: Classes, labels: Classes, prior: ClassPrior) -> Shares:
    """Accuracy of test rows, over all of them and by group of classes.

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N].
        prior: Training counts; they decide the groups.

    Raises:
        DataError: If labels or predictions break a rule.
    """
    groups = accuracy.by_group(predictions, labels, prior)
    total = accuracy.accuracy(predictions, labels)
    return {"accuracy": total, **{str(group): share for group, share in groups.items()}}


def sections(
    test: ScoreSplit,
    shifted: Mapping[str, ScoreSplit],
    per_set: Mapping[str, Mapping[str, Any]],
    full: Mapping[str, Mapping[str, Any]],
    groups: SetGroups,
    prior: ClassPrior,
) -> dict[str, Any]:
    """All metrics in the sections of metrics.json; see `Evaluation.metrics`.

    Args:
        test: ID test rows.
        shifted: Rows under covariate shift by the name of their set; may be empty.
        per_set: Metrics of the test rows against each OOD set; may be empty.
        full: The same of test and shifted rows together, where there are shifted rows.
        groups: OOD sets over which further means are taken.
        prior: Training counts of the classes.

    Raises:
        DataError: If labels or predictions break a rule, or a group names a set that is not there.
    """
    right = test.predictions == test.labels
    found: dict[str, Any] = {
        "id": id_metrics(test.predictions, test.labels, prior),
        # Of the test rows by themselves: a row that is classified wrongly is a failure.
        "failures": {
            "aurc": aurc.aurc(test.scores, right),
            "augrc": augrc.augrc(test.scores, right),
        },
        **summed_up(per_set, groups),
    }
    if shifted:
        found["csid"] = {
            name: {**id_metrics(rows.predictions, rows.labels, prior), "num_rows": len(rows)}
            for name, rows in shifted.items()
        }
    if full:
        found["full_spectrum"] = summed_up(full, groups)
    return found
