"""Long-tailed class counts and the rows that make them up.

Source: Cao, Wei, Gaidon, Arechiga and Ma, "Learning Imbalanced Datasets with
Label-Distribution-Aware Margin Loss", NeurIPS 2019 (arXiv:1906.07413), appendix on
imbalanced CIFAR: the exponential profile n_c = n_max * ratio^(c / (C - 1)) and the step
profile. PASCL, PATT and ImOOD cut their training sets by the exponential one. Counts are
truncated, not rounded, as there; the official tables follow only so.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles

Imbalance = Literal["exponential", "step"]
Profile = Literal["exponential", "step", "none"]
#: A split in memory or in files; the cut is of the same kind.
Split = TypeVar("Split", ImageSplit, ImageFiles)


def long_tail_counts(
    num_max: int,
    num_classes: int,
    *,
    ratio: float,
    kind: Imbalance = "exponential",
    class_names: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """Count the training images of each class, head class first.

    Args:
        num_max: Images of the largest class, at least 1.
        num_classes: Number of classes C, at least 1.
        ratio: Smallest class over largest class, above 0 and at most 1.
        kind: "exponential" falls from class to class; "step" keeps the first half of the
            classes whole and cuts the others to `ratio`.
        class_names: Names of the classes, for messages.

    Returns:
        Counts, [C] int64, never rising.

    Raises:
        ConfigError: If an argument is out of range or a class would get no image.
    """
    if num_max < 1 or num_classes < 1:
        raise ConfigError(
            f"{num_classes} classes of at most {num_max} images; both must be 1 or more."
        )
    if not 0 < ratio <= 1:
        raise ConfigError(
            f"the imbalance ratio is {ratio}; it is smallest over largest class, so set it "
            "above 0 and at most 1 (0.01 is usual)."
        )
    if kind == "exponential":
        # Order of operations as in the source: another one truncates some counts differently.
        last = max(num_classes - 1.0, 1.0)
        counts = [int(num_max * ratio ** (label / last)) for label in range(num_classes)]
    else:
        whole = num_classes - num_classes // 2
        counts = [num_max] * whole + [int(num_max * ratio)] * (num_classes - whole)
    if min(counts) < 1:
        raise ConfigError(
            f"an imbalance ratio of {ratio} leaves {_called(counts.index(0), class_names)} without "
            f"images (the largest class has {num_max}); set it to {1 / num_max:.3g} or more."
        )
    return np.array(counts, dtype=np.int64)


def long_tail_rows(
    labels: NDArray[np.int64], counts: Sequence[int], class_names: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Pick the first `counts[c]` rows of each class c.

    Args:
        labels: Classes of all rows, [N].
        counts: Rows to keep of each class, [C].
        class_names: Names of the classes, for messages.

    Returns:
        Row numbers in file order, [sum of counts] int64.

    Raises:
        DataError: If a class has fewer rows than asked for.
    """
    kept = []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise DataError(
                f"{_called(label, class_names)} has {len(rows)} images but the long tail needs "
                f"{count}; check that the file is complete, or lower the size of the largest class."
            )
        kept.append(rows[:count])
    return np.sort(np.concatenate(kept)).astype(np.int64)


def cut_long_tail(
    train: Split,
    num_classes: int,
    *,
    ratio: float,
    profile: Profile,
    num_max: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Split:
    """Keep the first rows of each class, as many as the profile gives it.

    Args:
        train: Training images with labels in 0 to C - 1.
        num_classes: Number of classes C.
        ratio: Smallest over largest class, above 0 and at most 1.
        profile: How counts fall from class 0 on; "none" keeps every row.
        num_max: Images of class 0; None takes as many as the largest class has.
        class_names: Names of the classes, for messages.

    Returns:
        The kept rows in their order.

    Raises:
        ConfigError: If a class would get no image.
        DataError: If a class has fewer images than the profile asks for.
    """
    if profile == "none":
        return train
    if num_max is None:
        num_max = int(np.bincount(train.labels[train.labels >= 0], minlength=1).max())
    counts = long_tail_counts(
        num_max, num_classes, ratio=ratio, kind=profile, class_names=class_names
    )
    return train.take(long_tail_rows(train.labels, counts.tolist(), class_names))


def _called(label: int, class_names: Sequence[str] | None) -> str:
    """A class by its number, and by its name where that is known."""
    return f"class {label}" if class_names is None else f"class {label} ({class_names[label]})"
