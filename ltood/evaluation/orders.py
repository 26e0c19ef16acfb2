"""Metrics of scores that depend on the order of a stream: mean and deviation over orders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.core.prior import ClassPrior
from ltood.evaluation.comparison import Comparison, Shares
from ltood.evaluation.config import SetGroups
from ltood.evaluation.groups import summed_up, with_alarms
from ltood.metrics import augrc, aurc, fpr_at_tpr, mean_over
from ltood.store.layout import OOD_PREFIX
from ltood.store.scores import ScoreSplit

#: Attribute of a score store that says what its columns by order are.
RECORD = "stream"


@dataclass(frozen=True)
class Orders:
    """Columns of `by_order` in a score store.

    Attributes:
        number: Orders of each stream.
        mix: "per_set" where each OOD set has a stream of its own, or "all".
        streams: Names of the streams, in the order of the columns of the test rows.
    """

    number: int
    mix: str
    streams: tuple[str, ...]

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Orders | None":
        """What the attributes of a score store say; None where scores need no stream."""
        found = attributes.get(RECORD)
        if found is None:
            return None
        return cls(found["orders"], found["mix"], tuple(found["streams"]))

    def compare(self, split_name: str, test: ScoreSplit, split: ScoreSplit) -> list[Comparison]:
        """The rows of an OOD set against the test rows of the same stream, order by order.

        Args:
            split_name: Name of the split, such as "ood_svhn".
            test: ID test rows with their columns.
            split: Rows of the set with theirs.

        Raises:
            StoreError: If `id_share` has left none of its OOD rows in an order.
            DataError: If every row of the set carries a class label.
        """
        name = split_name.removeprefix(OOD_PREFIX)
        place = self.streams.index(name) if name in self.streams else 0
        return [
            Comparison.of(split_name, in_order(test, place * self.number + order), rows)
            for order, rows in enumerate(self._rows_of(split_name, split))
        ]

    def _rows_of(self, split_name: str, split: ScoreSplit) -> Iterator[ScoreSplit]:
        """Rows of a set in each order."""
        for order in range(self.number):
            rows = in_order(split, order)
            if (split.labels < 0).any() and not (rows.labels < 0).any():
                raise StoreError(
                    f"no OOD row of {split_name} was in the stream of order {order}: id_share "
                    "leaves too few rows for all sets; set a smaller id_share, or mix: per_set."
                )
            yield rows


def in_order(split: ScoreSplit, column: int) -> ScoreSplit:
    """Rows of a split that were in a stream, with their scores in it.

    Raises:
        StoreError: If the store has no such column.
    """
    if column >= split.columns:
        raise StoreError(
            f"the scores have {split.columns} columns by order, and column {column} was asked "
            "for; run the score stage again."
        )
    assert split.by_order is not None
    scores = split.by_order[:, column]
    there = np.isfinite(scores)
    if there.all():
        return replace(split, scores=scores, by_order=None)
    rest = (split.predictions[there], split.labels[there], split.ids[there])
    return ScoreSplit(scores[there], *rest)


def over_orders(
    comparisons: Mapping[str, Sequence[Comparison]],
    orders: Orders,
    groups: SetGroups,
    prior: ClassPrior | None = None,
) -> dict[str, Any]:
    """Metrics of streams.

    Args:
        comparisons: By OOD set, one for each order.
        orders: What the streams are.
        groups: OOD sets over which further means are taken.
        prior: Training counts, for `false_alarms` by class group; None leaves these out.

    Returns:
        `ood`, `mean` and `groups` as those of other scores, averaged over the orders, and `stream`:
        that the scores are `transductive`, `orders`, `mix`, the standard deviation `std` over the
        orders in the same sections (None with one order), and `order_dependent` by set and as mean;
        see there. Nothing without OOD sets.

    Raises:
        DataError: If a group names a set that is not there.
    """
    if not comparisons:
        groups.checked(())
        return {}
    measured = {
        name: [one.metrics if prior is None else with_alarms(one, prior) for one in items]
        for name, items in comparisons.items()
    }
    single = [
        summed_up({name: of[order] for name, of in measured.items()}, groups)
        for order in range(orders.number)
    ]
    dependent = {name: order_dependent(items) for name, items in comparisons.items()}
    return {
        **merged(single, _mean),
        "stream": {
            "transductive": True,
            "orders": orders.number,
            "mix": orders.mix,
            "std": merged(single, _deviation),
            "order_dependent": {"ood": dependent, "mean": mean_over(list(dependent.values()))},
        },
    }


def merged(
    sections: Sequence[Mapping[str, Any]], function: Callable[[Sequence[float]], float | None]
) -> dict[str, Any]:
    """Nested sections with the same keys as one, whose values are functions of theirs.

    A value that is None in one of them is None.
    """
    found: dict[str, Any] = {}
    for key, first in sections[0].items():
        values = [one[key] for one in sections]
        if isinstance(first, Mapping):
            found[key] = merged(values, function)
        else:
            found[key] = None if None in values else function(values)
    return found


def _mean(values: Sequence[float]) -> float:
    # Numbers of rows are the same in all orders and stay whole.
    return values[0] if isinstance(values[0], int) else float(np.mean(values))


def _deviation(values: Sequence[float]) -> float | None:
    return None if len(values) < 2 else float(np.std(values, ddof=1))


def mean_alarms(comparisons: Sequence[Comparison], prior: ClassPrior) -> Shares:
    """`Comparison.false_alarms`, averaged over the orders; a group needs rows in all of them."""
    return merged([one.false_alarms(prior) for one in comparisons], _mean)


def failures_in_order(test: ScoreSplit) -> dict[str, float | None]:
    """AURC and AUGRC of the test rows by themselves, averaged over all streams and orders."""
    rows = [in_order(test, column) for column in range(test.columns)]
    measures = {"aurc": aurc.aurc, "augrc": augrc.augrc}
    single = [
        {key: of(one.scores, one.predictions == one.labels) for key, of in measures.items()}
        for one in rows
    ]
    return merged(single, _mean)


def order_dependent(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Share of the ID rows whose verdict depends on the order, at the threshold of each order.

    Args:
        comparisons: The same OOD set in each order.

    Returns:
        `id_pos`, where 95 % of the ID rows are accepted, and `ood_pos`, where 95 % of the OOD
        rows are flagged: fractions of the ID rows that were in at least one stream.
    """
    return {
        "id_pos": _differing(comparisons, _threshold_of_id, np.greater),
        "ood_pos": _differing(comparisons, lambda one: one.threshold, np.greater_equal),
    }


def _threshold_of_id(comparison: Comparison) -> float:
    return fpr_at_tpr.operating_point(comparison.ranking, positive="id").threshold


def _differing(
    comparisons: Sequence[Comparison],
    threshold: Callable[[Comparison], float],
    above: Callable[..., NDArray[np.bool_]],
) -> float:
    """Share of ID rows that are flagged in some orders and not in all they are part of."""
    flags: list[NDArray[np.bool_]] = []
    rows: list[NDArray[np.int64]] = []
    for one in comparisons:
        flags.append(above(one.id_scores, threshold(one)))
        # An id may stand in both the test split and the OOD set, whose rows of a class count too.
        test, own = one.test.ids, one.relabelled.ids
        keys = np.concatenate([np.stack([test, 0 * test], 1), np.stack([own, 0 * own + 1], 1)])
        rows.append(keys)
    _, which = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    seen = np.bincount(which.ravel())
    flagged = np.bincount(which.ravel(), weights=np.concatenate(flags))
    return float(np.mean((flagged > 0) & (flagged < seen)))
