"""Rules that archives must keep to become a feature store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.core.head_schema import HEAD_SHAPES, check_head
from ltood.runtime.console import log
from ltood.store.archives import Archive
from ltood.store.layout import AUX_SPLIT, ID_SPLITS, OOD_PREFIX, SPLIT_RULE, ArraySpec, SplitSpec

HEAD_FILE = "head.npz"
#: Arrays of head.npz that are not of the head itself.
_HEAD_NOTES = ("class_counts", "class_names")
_SPLIT_ARRAYS = ("features", "labels", "sc_label", "logits", "local", "ids")


def read_head(archive: Archive) -> dict[str, NDArray[Any]]:
    """Head arrays as float32, checked."""
    head: dict[str, NDArray[Any]] = {}
    for name in archive.names:
        if name in HEAD_SHAPES:
            values = archive.load(name)
            if values.dtype.kind not in "fiu":
                raise DataError(f"{archive.path}: {name} is {values.dtype}; it must be numbers.")
            head[name] = as_float32(values)
            bad = int((~np.isfinite(head[name])).sum())
            if bad:
                raise DataError(
                    f"{archive.path}: {name} has {bad} values that are not finite in float32."
                )
        elif name not in _HEAD_NOTES:
            log(f"warning: {archive.path} has an array {name!r} that no head uses; it is ignored.")
    try:
        check_head({name: values.shape for name, values in head.items()})
    except DataError as error:
        raise DataError(f"{archive.path}: {error}") from None
    if "logit_scale" in head and not (head["logit_scale"] > 0).all():
        raise DataError(
            f"{archive.path}: logit_scale is {head['logit_scale'].tolist()}; it multiplies cosines "
            "to logits, so it must be above 0 (CLIP's is 100)."
        )
    return head


def read_class_names(archive: Archive, num_classes: int) -> list[str]:
    """Names of the classes; their numbers where none are given."""
    if "class_names" not in archive.names:
        return [str(number) for number in range(num_classes)]
    names = archive.load("class_names")
    if names.dtype.kind != "U" or names.shape != (num_classes,):
        raise DataError(
            f"{archive.path}: class_names is {names.dtype} of shape {names.shape}; it must be text "
            f"of shape ({num_classes},), such as np.array(names)."
        )
    listed = [str(name) for name in names]
    for name in listed:
        if not name.strip() or listed.count(name) > 1:
            raise DataError(
                f"{archive.path}: class_names has {name!r}, which is empty or there twice; give "
                "every class a name of its own."
            )
    return listed


def split_files(folder: Path) -> dict[str, Path]:
    """Archives of the folder by split name, in a fixed order."""
    found = {}
    for path in sorted(folder.iterdir()):
        name = path.stem
        is_split = name in (*ID_SPLITS, AUX_SPLIT) or name.startswith(OOD_PREFIX)
        if path.suffix == ".npz":
            if not is_split and path.name != HEAD_FILE:
                raise DataError(f"{path} is not a split: {SPLIT_RULE}; rename or remove the file.")
            if is_split:
                found[name] = path
        elif is_split or name == "head" or path.suffix.lower() in (".npy", ".npz"):
            raise DataError(
                f"{path} is not read: a split is an .npz archive with the arrays features and "
                "labels (numpy.savez), and the ending is written small. Convert, rename or remove "
                "the file."
            )
    if not found:
        raise DataError(f"{folder} holds no split; put train.npz, test.npz, ood_<name>.npz there.")
    return found


@dataclass(frozen=True)
class _Rule:
    """What an array of a split must be.

    Attributes:
        kinds: NumPy kinds of its type.
        what: The same in words.
        shape: One row; "D" and "C + e" are sizes of the head, None is any.
    """

    kinds: str
    what: str
    shape: tuple[str | None, ...]


_RULES = {
    "features": _Rule("f", "float16, float32 or float64", ("D",)),
    "logits": _Rule("fiu", "numbers", ("C + e",)),
    "local": _Rule("fiu", "numbers", (None, "D")),
    "ids": _Rule("iu", "whole numbers", ()),
}


def split_spec(archive: Archive, head: Mapping[str, NDArray[Any]]) -> SplitSpec:
    """Check types and shapes of one archive against the head; logits are stored if given."""
    path = archive.path
    num_classes, dim = head["weight"].shape
    sizes = {"D": dim, "C + e": num_classes + len(head.get("extra_bias", ()))}
    rows = archive.shape("features")[:1]
    if rows == (0,):
        raise DataError(f"{path} has no rows; leave the split out or give it rows.")
    for name in archive.names:
        if name not in _SPLIT_ARRAYS:
            log(f"warning: {path} has an array {name!r} that no split holds; it is ignored.")
        elif archive.shape(name)[:1] != rows:
            raise DataError(
                f"{path}: {name} has {archive.shape(name)[:1]} rows and features have {rows}; "
                "all arrays of a split describe the same rows."
            )
    arrays = {"labels": ArraySpec("int64"), "ids": ArraySpec("int64")}
    for name, rule in _RULES.items():
        if name not in archive.names:
            continue
        dtype, shape = archive.dtype(name), archive.shape(name)[1:]
        if dtype.kind not in rule.kinds:
            raise DataError(f"{path}: {name} are {dtype}; they must be {rule.what}.")
        wanted = [None if size is None else sizes[size] for size in rule.shape]
        if len(shape) != len(wanted) or any(
            size not in (None, found) for size, found in zip(wanted, shape, strict=True)
        ):
            words = ", ".join(["N", *(f"{size or 'P'}" for size in wanted)])
            raise DataError(
                f"{path}: {name} have shape {archive.shape(name)}; with a head of {num_classes} "
                f"classes and {dim} features they must be [{words}]. The archive and the head "
                "must come from the same network."
            )
        if name != "ids":
            half = dtype.itemsize == 2 and dtype.kind == "f" and name != "logits"
            arrays[name] = ArraySpec("float16" if half else "float32", shape)
    return SplitSpec(rows[0], arrays)


def read_labels(name: str, archive: Archive, head: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Labels of one split, checked; -1 for OOD and auxiliary rows."""
    rows, num_classes = archive.shape("features")[0], len(head["bias"])
    is_id = name in ID_SPLITS
    key = "labels" if is_id else "sc_label"
    if key not in archive.names:
        if is_id:
            raise DataError(f"{archive.path} has no array 'labels'; ID splits need them.")
        return np.full(rows, -1, dtype=np.int64)
    labels = archive.load(key)
    if labels.dtype.kind not in "iu" or labels.shape != (rows,):
        raise DataError(
            f"{archive.path}: {key} is {labels.dtype} of shape {labels.shape}; it must be whole "
            f"numbers of shape ({rows},)."
        )
    lowest = 0 if is_id else -1
    bad = (labels < lowest) | (labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{archive.path}: {key}[{row}] is {labels[row]}; it must lie in {lowest} to "
            f"{num_classes - 1}, the classes of the head ({int(bad.sum())} such rows)."
        )
    return labels.astype(np.int64)


def class_counts(
    given: NDArray[Any] | None, train: NDArray[np.int64] | None, num_classes: int
) -> NDArray[np.int64]:
    """Training counts: given ones win, else counted from the training labels."""
    if given is not None:
        if given.shape != (num_classes,) or given.dtype.kind not in "iu":
            raise DataError(
                f"head.npz: class_counts is {given.dtype} of shape {given.shape}; it must be "
                f"whole numbers of shape ({num_classes},)."
            )
        counts = given.astype(np.int64)
    elif train is not None:
        counts = np.bincount(train, minlength=num_classes)
    else:
        raise DataError(
            "there is neither class_counts in head.npz nor train.npz to count from; give one."
        )
    if (counts <= 0).any():
        empty = np.flatnonzero(counts <= 0)[:10].tolist()
        raise DataError(
            f"classes {empty} have no training images (count {counts[empty[0]]}); every class of "
            "the head needs at least one. Remove the class from the head or add images."
        )
    return counts


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers as they are stored; what is too large for that becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)
