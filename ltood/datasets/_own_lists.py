"""Lists of a user's pictures: path, label and, where it is known, split."""

from pathlib import Path

import numpy as np

from ltood.core.errors import DataError, quoted
from ltood.datasets._own_pictures import ALIASES, UNDIVIDED, Found
from ltood.images.files import ImageFiles, OnError
from ltood.images.lists import check_paths
from ltood.images.sources import WatchedFiles
from ltood.images.tables import table_rows

_REMEDY = "correct it, or datasets.folder.manifest"


def read_manifest(
    where: Path, root: Path, on_error: OnError, label_column: str | None = None
) -> Found:
    """Pictures that a table names.

    Args:
        where: CSV, JSON lines or Parquet with the columns path, label and perhaps split.
        root: Folder that the paths start from.
        on_error: What preparing does about files that cannot be decoded.
        label_column: Column of the class; None takes label.

    Raises:
        DataError: If the table is unusable, a path leads nowhere, or a class has no training image.
    """
    columns = {
        "path": ("path", "file_name"),
        "label": ("label",) if label_column is None else (label_column,),
        "split": ("split",),
    }
    paths: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    same: dict[str, str] = {}
    allowed = {"": UNDIVIDED, **ALIASES}
    for number, (path, label, split) in table_rows(
        where, columns, optional=("split",), remedy=_REMEDY
    ):
        label, split = label.strip(), split.strip()
        if not path or not label or split.lower() not in allowed:
            raise DataError(
                f"line {number} of {where} needs a path, a label and a split of train, val, test "
                f"or none; it has {quoted(path)}, {quoted(label)} and {quoted(split)}; {_REMEDY}."
            )
        paths.append(path)
        names.append(same.setdefault(label, label))
        splits.append(allowed[split.lower()])
    if not paths:
        raise DataError(f"the list {where} is empty; write one image per line.")
    check_paths(root, paths, f"the list {where}")
    classes = _classes(where, paths, names, splits)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in names], dtype=np.int64)
    parts = {}
    for split in dict.fromkeys(splits):
        rows = [row for row, name in enumerate(splits) if name == split]
        parts[split] = ImageFiles(
            root,
            tuple(paths[row] for row in rows),
            labels[rows],
            np.arange(len(rows)),
            on_error=on_error,
        )
    return Found(classes, parts, {"manifest": WatchedFiles.of(where)})


def _classes(where: Path, paths: list[str], names: list[str], splits: list[str]) -> tuple[str, ...]:
    """Sorted names of the classes, known to have training images."""
    learned = {
        name for name, split in zip(names, splits, strict=True) if split in ("train", UNDIVIDED)
    }
    for path, name in zip(paths, names, strict=True):
        if name not in learned:
            few = ", ".join(sorted(learned)[:5]) or "none, for no image is for training"
            raise DataError(
                f"{where} gives {path!r} the class {name!r}, which no training image has; "
                f"the classes are {few}. Add training images of it, or leave the line out."
            )
    return tuple(sorted(learned))
