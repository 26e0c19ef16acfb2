"""Lists of a user's pictures: path, label and, where it is known, split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ltood.core.errors import DataError, quoted
from ltood.datasets._own_pictures import ALIASES, UNDIVIDED, Found
from ltood.images.files import ImageFiles, OnError
from ltood.images.folders import folders_of
from ltood.images.lists import check_paths
from ltood.images.sources import WatchedFiles
from ltood.images.tables import TABLES, column_names, table_rows

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
    listed = _Listed(where)
    listed.add(where, "", _columns(("path", "file_name"), label_column))
    check_paths(root, listed.paths, f"the list {where}")
    return listed.found(root, on_error, {"manifest": WatchedFiles.of(where)})


def metadata_tables(root: Path, label_column: str | None) -> list[str]:
    """Tables that give images beside them their classes, as image folders of `datasets` have.

    Args:
        root: Folder that may hold one, or folders of splits that do.
        label_column: Column of the class; None takes label.

    Returns:
        Their paths from the root on; none if no table has a column of classes.
    """
    folders = ["", *(f"{name}/" for name in folders_of(root) if name.lower() in ALIASES)]
    tables = [
        f"{folder}metadata{ending}"
        for folder in folders
        for ending in TABLES
        if (root / f"{folder}metadata{ending}").is_file()
    ]
    name = label_column or "label"
    return [table for table in tables if name in column_names(root / table)]


def read_metadata(
    root: Path, tables: Sequence[str], on_error: OnError, label_column: str | None = None
) -> Found:
    """Images that tables beside them name, each in the split that its folder is named after.

    Args:
        root: Folder of the dataset.
        tables: As `metadata_tables` gives them.
        on_error: What preparing does about files that cannot be decoded.
        label_column: Column of the class; None takes label.

    Raises:
        DataError: As `read_manifest` raises it.
    """
    listed = _Listed(root / tables[0])
    for table in tables:
        below = table.rpartition("/")[0]
        columns = _columns(("file_name", "path"), label_column)
        listed.add(root / table, f"{below}/" if below else "", columns)
    check_paths(root, listed.paths, f"the list {root / tables[0]}")
    return listed.found(
        root, on_error, {table: WatchedFiles(root, (table,)) for table in tables}, by_folder=True
    )


def _columns(path: tuple[str, str], label_column: str | None) -> dict[str, tuple[str, ...]]:
    return {"path": path, "label": (label_column or "label",), "split": ("split",)}


class _Listed:
    """Rows of one or several lists."""

    def __init__(self, where: Path) -> None:
        self._where = where
        self.paths: list[str] = []
        self._names: list[str] = []
        self._splits: list[str] = []
        self._same: dict[str, str] = {}

    def add(self, where: Path, below: str, columns: Mapping[str, tuple[str, ...]]) -> None:
        """Add the rows of a table, whose paths start in the folder `below` of the root."""
        allowed = {"": UNDIVIDED, **ALIASES}
        rows = table_rows(where, columns, optional=("split",), remedy=_REMEDY)
        for number, (path, label, split) in rows:
            label, split = label.strip(), split.strip()
            if not path or not label or split.lower() not in allowed:
                raise DataError(
                    f"line {number} of {where} needs a path, a label and a split of train, val, "
                    f"test or none; it has {quoted(path)}, {quoted(label)} and {quoted(split)}; "
                    f"{_REMEDY}."
                )
            self.paths.append(below + path)
            self._names.append(self._same.setdefault(label, label))
            self._splits.append(allowed[split.lower()])

    def found(
        self,
        root: Path,
        on_error: OnError,
        tables: Mapping[str, WatchedFiles],
        *,
        by_folder: bool = False,
    ) -> Found:
        """The rows as images; `by_folder` takes splits from the first folder of each path."""
        if not self.paths:
            raise DataError(f"the list {self._where} is empty; write one image per line.")
        splits = self._splits
        if by_folder:
            first = [path.partition("/")[0].lower() for path in self.paths]
            splits = [
                split or ALIASES.get(folder, UNDIVIDED)
                for split, folder in zip(splits, first, strict=True)
            ]
        classes = _classes(self._where, self.paths, self._names, splits)
        numbers = {name: number for number, name in enumerate(classes)}
        labels = np.array([numbers[name] for name in self._names], dtype=np.int64)
        parts = {}
        for split in dict.fromkeys(splits):
            rows = [row for row, name in enumerate(splits) if name == split]
            paths, ids = tuple(self.paths[row] for row in rows), np.arange(len(rows))
            parts[split] = ImageFiles(root, paths, labels[rows], ids, on_error=on_error)
        return Found(classes, parts, tables)


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
