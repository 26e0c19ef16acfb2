"""Validation of the arrays of a feature store against one another."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.core.head_schema import check_head
from ltood.store.layout import VIEWS_SPLIT, SplitSpec, StoreSpec, is_part


def check_content(
    spec: StoreSpec,
    head: Mapping[str, NDArray[Any]],
    class_names: Sequence[str],
    counts: Sequence[int],
) -> None:
    """Refuse head, names, counts and arrays that do not fit one another.

    Args:
        spec: Splits and arrays.
        head: Head arrays by name; none where the backbone has none, and then all splits have
            logits, C each, or no split has.
        class_names: C names.
        counts: C training counts.

    Raises:
        DataError: If something is missing or has another shape than the rest.
    """
    dim, outputs = None, len(class_names)
    if head:
        sizes = check_head({name: values.shape for name, values in head.items()})
        num_classes, dim, outputs = sizes["C"], sizes["D"], sizes["C"] + sizes["e"]
        for what, items in (("class names", class_names), ("class counts", counts)):
            if len(items) != num_classes:
                raise DataError(
                    f"there are {len(items)} {what} but the head has {num_classes} classes."
                )
    elif len(counts) != len(class_names):
        raise DataError(f"there are {len(counts)} class counts but {len(class_names)} class names.")
    fixed = "this head" if head else "the others"
    for name, split in spec.splits.items():
        if is_part(name):
            continue  # Extra arrays may be of any width; who reads one checks it.
        dim = _check_split(name, split, (dim, outputs), fixed)
    if not head:
        _check_logits_of_all(spec)


def _check_logits_of_all(spec: StoreSpec) -> None:
    """Refuse logits of some splits alone, where no head computes those of the others."""
    images = {
        name: split
        for name, split in spec.splits.items()
        if name != VIEWS_SPLIT and not is_part(name)
    }
    without = [name for name, split in images.items() if "logits" not in split.arrays]
    if without and len(without) < len(images):
        given = next(name for name in images if name not in without)
        raise DataError(
            f"split {given} has logits but split {without[0]} has none, and there is no head to "
            "compute them; give logits for all splits or for none, or give the head."
        )


def _check_split(name: str, split: SplitSpec, sizes: tuple[int | None, int], fixed: str) -> int:
    """Refuse arrays of one split that do not fit the head and the splits before.

    Args:
        name: Split name.
        split: Its arrays.
        sizes: Feature width D, or None for any, and number of logits.
        fixed: What decides the sizes, for messages.

    Returns:
        The feature width.
    """
    dim, outputs = sizes
    features = split.arrays.get("features")
    found = () if features is None else features.shape
    width = dim if dim is not None else (found[-1] if found else 1)
    needed: dict[str, tuple[int, ...]] = {"features": (width,), "labels": (), "ids": ()}
    if name == VIEWS_SPLIT:
        needed["features"] = (found[0] if len(found) > 1 else 1, width)
    elif "logits" in split.arrays:
        needed["logits"] = (outputs,)
    for key, shape in needed.items():
        if key not in split.arrays:
            raise DataError(f"split {name} lacks the array {key}.")
        if split.arrays[key].shape != shape:
            raise DataError(
                f"{key} of split {name} has rows of shape {split.arrays[key].shape}; "
                f"with {fixed} they must be {shape}."
            )
    if "logits" in split.arrays and "logits" not in needed:
        raise DataError(
            f"split {name} has logits, which no head gives; leave them out or store the head."
        )
    return width
