"""ID accuracy: over all rows, per class, and by many-, medium- and few-shot classes.

The accuracy of a group is the mean of its classes' accuracies, as the official PASCL,
PATT and ImOOD evaluations compute it: a class with few test rows counts as much as any
other. The groups come from the training counts, see `ltood.core.prior`.
"""

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.core.prior import GROUPS, ClassPrior, Group

HIGHER_IS_BETTER = True
UNIT = "fraction"

Classes = NDArray[np.int64]


def accuracy(predictions: Classes, labels: Classes) -> float:
    """Share of rows whose predicted class is right.

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N].

    Returns:
        A fraction, 0 to 1.

    Raises:
        DataError: If the lists are empty or differ in shape.
    """
    _check_rows(predictions, labels)
    return int((predictions == labels).sum()) / len(labels)


def per_class(predictions: Classes, labels: Classes, num_classes: int) -> NDArray[np.float64]:
    """Share of right rows among the rows of each class.

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N], each 0 to `num_classes` - 1.
        num_classes: Number of classes C.

    Returns:
        Fractions, [C]; NaN for a class without rows.

    Raises:
        DataError: If the lists are empty, differ in shape or leave the class range.
    """
    _check_rows(predictions, labels)
    check_classes(labels, num_classes, "labels")
    rows = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predictions == labels], minlength=num_classes)
    shares = np.full(num_classes, np.nan)
    np.divide(right, rows, out=shares, where=rows > 0)
    return shares


def by_group(predictions: Classes, labels: Classes, prior: ClassPrior) -> dict[Group, float | None]:
    """Mean accuracy of the classes of each group.

    Args:
        predictions: Predicted classes, [N].
        labels: True classes, [N].
        prior: Training counts; they decide the groups.

    Returns:
        A fraction for "many", "medium" and "few"; None where no class of the group has
        a row.

    Raises:
        DataError: If the lists are empty, differ in shape or leave the class range.
    """
    shares = per_class(predictions, labels, prior.num_classes)
    groups = prior.groups()
    means: dict[Group, float | None] = {}
    for group in GROUPS:
        members = shares[(groups == group) & ~np.isnan(shares)]
        means[group] = float(members.mean()) if len(members) else None
    return means


def check_classes(classes: Classes, num_classes: int, what: str) -> None:
    """Refuse rows whose value is not a class.

    Args:
        classes: Labels or predictions, [N].
        num_classes: Number of classes C.
        what: Names the rows in the error.

    Raises:
        DataError: If a class is not 0 to C - 1.
    """
    outside = (classes < 0) | (classes >= num_classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"{outside.sum()} of {len(classes)} {what} are not classes (first: row {row}, value "
            f"{classes[row]}); classes go from 0 to {num_classes - 1}. Check the class counts "
            "and import or extract these rows again."
        )


def _check_rows(predictions: Classes, labels: Classes) -> None:
    if predictions.shape != labels.shape or labels.ndim != 1:
        raise DataError(
            f"predictions have shape {predictions.shape} and labels {labels.shape}; both are "
            "one list [N], read from the same split."
        )
    if len(labels) == 0:
        raise DataError("there are no labels; accuracy needs at least one row.")
