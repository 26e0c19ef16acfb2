"""Which classes are taken for which: a matrix, and the pairs that are confused most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS
from ltood.evaluation.measures import Evaluation
from ltood.reporting.tables import Cell, Row

#: With more classes a matrix by class group takes the place of the one by class.
MOST_CLASSES = 30
_PAIRS = 12


@dataclass(frozen=True)
class Shade:
    """One cell of a matrix.

    Attributes:
        count: Images.
        percent: Share of its row in whole percent.
        is_right: Whether row and column are the same.
    """

    count: int
    percent: int
    is_right: bool


@dataclass(frozen=True)
class ConfusionPanel:
    """Section of the report on confused classes.

    Attributes:
        names: Rows and columns of the matrix.
        rows: Its cells.
        by_group: Whether it is by class group.
        pairs: True class, with the class it is taken for, images, and share of the class.
    """

    names: list[str]
    rows: list[list[Shade]]
    by_group: bool
    pairs: list[Row]


def confusion_panel(evaluation: Evaluation) -> ConfusionPanel | None:
    """The section, or None where there is one class."""
    prior, test = evaluation.prior, evaluation.test
    if prior.num_classes < 2:
        return None
    names = [entry["name"] for entry in evaluation.breakdown["classes"]]
    by_group = prior.num_classes > MOST_CLASSES
    if by_group:
        groups = [str(group) for group in GROUPS]
        place = np.array([groups.index(group) for group in prior.groups()])
        counts = counted(place[test.labels], place[test.predictions], len(groups))
    else:
        groups, counts = names, counted(test.labels, test.predictions, prior.num_classes)
    sums = counts.sum(axis=1)
    cells = [
        [
            Shade(int(count), round(100 * int(count) / max(int(total), 1)), row == column)
            for column, count in enumerate(counts[row])
        ]
        for row, total in enumerate(sums)
    ]
    pairs = _pairs(test.labels, test.predictions, names)
    return ConfusionPanel(groups, cells, by_group, pairs)


def counted(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Rows by true (first axis) and predicted (second axis) number, [size, size]."""
    found: NDArray[np.int64] = np.bincount(labels * size + predictions, minlength=size**2)
    return found.reshape(size, size)


def _pairs(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], names: Sequence[str]
) -> list[Row]:
    """Pairs of classes by the number of images, without a matrix of all classes."""
    size = len(names)
    wrong = labels != predictions
    pairs, counts = np.unique(labels[wrong] * size + predictions[wrong], return_counts=True)
    totals = np.bincount(labels, minlength=size)
    rows = []
    for place in np.argsort(-counts, kind="stable")[:_PAIRS].tolist():
        true, taken = divmod(int(pairs[place]), size)
        share = 100 * int(counts[place]) / int(totals[true])
        cells = [
            Cell(names[taken], is_text=True),
            Cell(f"{int(counts[place]):,}"),
            Cell(f"{share:.1f}"),
        ]
        rows.append(Row(names[true], cells))
    return rows
