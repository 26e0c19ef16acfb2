"""Where the images of rows lie: in prepared data, or in lists of paths."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles
from ltood.images.packed import PackedFiles
from ltood.images.prepared import PreparedData, open_prepared
from ltood.runtime.workspace import below_workspace


class Paths(Protocol):
    """Image files of rows."""

    def of(self, split: str, start: int, ids: NDArray[np.int64]) -> list[str | None]:
        """Absolute paths of the images of consecutive rows, [n]; None where there is no file.

        Args:
            split: Name of the split.
            start: Number of the first row.
            ids: Ids of the rows.

        Raises:
            DataError: If there is no image of an id, or no list of the split.
        """


class PreparedPaths:
    """Images of prepared data, which are files or arrays."""

    def __init__(self, folder: Path) -> None:
        """Open prepared data.

        Raises:
            StoreError: If there is none.
            CorruptStoreError: If it was changed.
        """
        self.data: PreparedData = open_prepared(folder)
        self._rows: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def of(self, split: str, start: int, ids: NDArray[np.int64]) -> list[str | None]:
        """Absolute paths by the ids of the rows; None for images that are arrays or packed."""
        del start
        source, rows = self.source(split), self.rows_of(split, ids)
        if isinstance(source, ImageSplit | PackedFiles):
            return [None] * len(ids)
        root = source.root.absolute()
        return [str(root / source.paths[row]) for row in rows.tolist()]

    def named(self, split: str, ids: NDArray[np.int64]) -> list[str | None]:
        """Names of the images: paths from the workspace on where they lie in it.

        Images that were brought to one size, or packed, are named from the root of their set on;
        None for images of arrays.
        """
        source, rows = self.source(split), self.rows_of(split, ids)
        if isinstance(source, ImageSplit | PackedFiles):
            return [source.paths[row] if source.paths else None for row in rows.tolist()]
        root = below_workspace(source.root)
        return [f"{root}/{source.paths[row]}" for row in rows.tolist()]

    def source(self, split: str) -> ImageSplit | ImageFiles:
        """Images of one split.

        Raises:
            DataError: If the prepared data have no such split.
        """
        if split not in self.data.splits():
            raise DataError(
                f"{self.data.path} has no split {split}; it has {', '.join(self.data.splits())}. "
                "Give the prepared data that the features were made from."
            )
        return self.data.source(split)

    def rows_of(self, split: str, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of ids in the prepared split, [n].

        Raises:
            DataError: If one is not there.
        """
        if split not in self._rows:
            order = np.argsort(self.source(split).ids, kind="stable")
            self._rows[split] = (order, self.source(split).ids[order])
        order, known = self._rows[split]
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        lost = known[at] != ids
        if lost.any():
            raise DataError(
                f"{self.data.path} has no image with the id {ids[int(np.argmax(lost))]} in split "
                f"{split}; give the prepared data that the features were made from."
            )
        rows: NDArray[np.int64] = order[at]
        return rows


class ListedPaths:
    """Lists of paths, one file `<split>.txt` for each split, a line for each row."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the lists; relative paths in them start there."""
        self._folder = folder
        self._lines: dict[str, list[str]] = {}

    def of(self, split: str, start: int, ids: NDArray[np.int64]) -> list[str | None]:
        """Absolute paths by the numbers of the rows."""
        lines, stop = self._read(split), start + len(ids)
        if stop > len(lines):
            raise DataError(
                f"{self._folder / split}.txt has {len(lines):,} lines and the split has more rows; "
                "give one path for each row."
            )
        root = self._folder.absolute()
        return [str(root / line) for line in lines[start:stop]]

    def _read(self, split: str) -> list[str]:
        if split not in self._lines:
            path = self._folder / f"{split}.txt"
            try:
                text = path.read_bytes().decode()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{path} cannot be read ({error}); write the path of each row on a line."
                ) from error
            self._lines[split] = text.removesuffix("\n").split("\n")
        return self._lines[split]
