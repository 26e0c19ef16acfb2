"""Rules that archives must keep to become a feature store."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.core.head_schema import HEAD_SHAPES, check_head
from ltood.runtime.console import log
from ltood.store.formats import ONE_ARRAY, READERS
from ltood.store.layout import (
    SPLIT_RULE,
    ArraySpec,
    SplitSpec,
    is_id_split,
    is_split_name,
)
from ltood.store.tables import Table

HEAD = "head"
_ENDINGS = (".npz", *READERS)
#: Arrays of the head's files that are not of the head itself.
_HEAD_NOTES = ("class_counts", "class_names")
_SPLIT_ARRAYS = ("features", "labels", "sc_label", "logits", "local", "ids")
_LAST_ID = np.iinfo(np.int64).max


def read_head(archive: Table | None) -> dict[str, NDArray[Any]]:
    """Head arrays as float32, checked; none where there is no file or it only names classes."""
    head: dict[str, NDArray[Any]] = {}
    if archive is None or (archive.names and set(archive.names) <= set(_HEAD_NOTES)):
        return head
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
    if "frozen_copies" in head and not (head["frozen_copies"] > 0).all():
        raise DataError(
            f"{archive.path}: frozen_copies is {head['frozen_copies'].tolist()}; it counts the "
            "copies of frozen_weight, so it must be above 0 (FA's is 3)."
        )
    return head


def stand_in(
    tables: Mapping[str, Table], described: Table | None, names: Sequence[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Shapes of the head that splits without one would have; they take no memory.

    Args:
        tables: Arrays by split.
        described: The head's file, which may only name the classes.
        names: Class names, where they are given apart.
    """
    classes = 1 if names is None else len(names)
    if names is None and described is not None:
        given = [described.shape(note) for note in _HEAD_NOTES if note in described.names]
        classes = max([1, *(shape[0] for shape in given if shape)])
    with suppress(DataError, KeyError, ValueError):
        classes = max(classes, int(tables["train"].load("labels").max()) + 1)
    zero = np.float32(0)
    return {
        "weight": np.broadcast_to(zero, (classes, feature_width(tables, {}))),
        "bias": np.broadcast_to(zero, (classes,)),
    }


def feature_width(tables: Mapping[str, Table], head: Mapping[str, NDArray[Any]]) -> int:
    """Feature width D: that of the head or, without one, of the training rows."""
    if head:
        return int(head["weight"].shape[1])
    table = tables.get("train") or next(iter(tables.values()))
    shape = table.shape("features")
    return shape[1] if len(shape) == 4 else shape[-1] if shape else 0


def read_class_names(archive: Table | None, num_classes: int) -> list[str]:
    """Names of the classes; their numbers where none are given."""
    if archive is None or "class_names" not in archive.names:
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


def folder_files(folder: Path) -> dict[str, dict[Path, str]]:
    """Files of a folder by split, "head" among them where there is one, in a fixed order.

    Returns:
        For each split its files, each with the name of its array where its format has none.

    Raises:
        DataError: If a file is not read, or there is no split.
    """
    found: dict[str, dict[Path, str]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (path.suffix.lower() not in _ENDINGS and not path.is_dir()):
            if is_split_name(path.stem) or path.stem == HEAD:
                raise DataError(
                    f"{path} is not read: known endings are {', '.join(_ENDINGS)}. Convert, "
                    "rename or remove the file."
                )
            continue
        name, array = _name_of(path)
        if name != HEAD and not is_split_name(name):
            # Detectors, networks and notes may lie there, too.
            if path.suffix.lower() not in (".npz", ".npy"):
                continue
            raise DataError(f"{path} is not a split: {SPLIT_RULE}; rename or remove the file.")
        if path.suffix != path.suffix.lower():
            raise DataError(f"{path} is not read: its ending must be in lower case. Rename it.")
        found.setdefault(name, {})[path] = array
    if not found.keys() - {HEAD}:
        raise DataError(f"{folder} holds no split; put train.npz, test.npz, ood_<name>.npz there.")
    return found


def _name_of(path: Path) -> tuple[str, str]:
    """Split that a file belongs to, and the name of its array where its format has none."""
    if path.suffix in ONE_ARRAY:
        for array in (*_SPLIT_ARRAYS, *HEAD_SHAPES, *_HEAD_NOTES):
            name = path.stem.removesuffix(f"_{array}")
            of_head = array not in _SPLIT_ARRAYS
            if name != path.stem and (name == HEAD if of_head else is_split_name(name)):
                return name, array
    return path.stem, "features"


@dataclass(frozen=True)
class _Rule:
    """Required form of an array of a split.

    Attributes:
        kinds: NumPy kinds of its type.
        what: The same in words.
        shape: One row; "D" and "C + e" are sizes of the head (without one e is 0), None is any.
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


_WAY_OUT = "; maps and tokens are pooled by --pool mean, max or cls (pool= in Python)"


def split_spec(
    archive: Table, head: Mapping[str, NDArray[Any]], extras: Sequence[str] = ()
) -> SplitSpec:
    """Check types and shapes of one archive against the head; logits are stored if given.

    Args:
        archive: Arrays of one split.
        head: Arrays of the head, or shapes that stand in for them.
        extras: Arrays that are stored apart; see `extra_specs`.
    """
    path = archive.path
    num_classes, dim = head["weight"].shape
    sizes = {"D": dim, "C + e": num_classes + len(head.get("extra_bias", ()))}
    rows = archive.shape("features")[:1]
    if rows == (0,):
        raise DataError(f"{path} has no rows; leave the split out or give it rows.")
    unknown = [name for name in archive.names if name not in _SPLIT_ARRAYS]
    if ignored := [name for name in unknown if name not in extras]:
        log(f"warning: {path}: no split holds {', '.join(map(repr, ignored))}; ignored.")
    for name in archive.names:
        if name not in unknown and archive.shape(name)[:1] != rows:
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
                f"{path}: {name} have shape {archive.shape(name)}; with {num_classes} classes and "
                f"{dim} features they must be [{words}]. All archives, and the head if there "
                f"is one, must come from the same network{_WAY_OUT if name == 'features' else ''}."
            )
        if name != "ids":
            half = dtype.itemsize == 2 and dtype.kind == "f" and name != "logits"
            arrays[name] = ArraySpec("float16" if half else "float32", shape)
    return SplitSpec(rows[0], arrays)


def read_labels(name: str, archive: Table, head: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Labels of one split, checked; -1 for OOD and auxiliary rows."""
    rows, num_classes = archive.shape("features")[0], len(head["bias"])
    is_id = is_id_split(name)
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
            f"{num_classes - 1}, the classes of the head or of train ({int(bad.sum())} such rows)."
        )
    return labels.astype(np.int64)


def read_ids(archive: Table) -> NDArray[np.int64]:
    """Ids of one split, each of which names one row; numbers of rows where none are given."""
    if "ids" not in archive.names:
        return np.arange(archive.shape("features")[0], dtype=np.int64)
    ids = archive.load("ids")
    if ids.dtype.kind == "u" and (ids > _LAST_ID).any():
        row = int(np.argmax(ids > _LAST_ID))
        raise DataError(
            f"{archive.path}: ids[{row}] is {ids[row]}; ids are stored as int64, so they must be "
            f"at most {_LAST_ID}. Number the rows instead."
        )
    _, firsts = np.unique(ids, return_index=True)
    if len(firsts) < len(ids):
        row = int(np.setdiff1d(np.arange(len(ids)), firsts)[0])
        raise DataError(
            f"there is an id twice in {archive.path}: ids[{row}] repeats {ids[row]} "
            f"({len(ids) - len(firsts)} such rows); each id names one row of the source. Leave the "
            "repeats out."
        )
    return ids.astype(np.int64, copy=False)


def class_counts(
    described: Table | None, train: NDArray[np.int64] | None, num_classes: int
) -> NDArray[np.int64]:
    """Training counts: those in the head's file win, else counted from the training labels."""
    if described is not None and "class_counts" in described.names:
        given = described.load("class_counts")
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
            f"classes {empty} have no training images (count {counts[empty[0]]}); every class "
            "needs at least one. Remove the class (from the head, too) or add images."
        )
    return counts


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers as they are stored; what is too large for that becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)
