"""Small copies of images, and where the images lie."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ltood.core.errors import DataError
from ltood.exports.paths import ListedPaths, PreparedPaths
from ltood.store.examples import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

#: Longest side of a small copy in pixels; smaller images stay as they are.
LONGEST = 96
#: Images up to this side are kept without loss, which takes little room.
_EXACT = 48
_QUALITY = 80


class Pictures(Protocol):
    """Gives the picture of a row."""

    def of(self, split: str, row: int, number: int, label: int) -> Picture:
        """The picture of one row.

        Args:
            split: Name of the split.
            row: Number of the row in the split; -1 where only its id is known.
            number: Id of the row.
            label: Class, or -1.
        """


class NoPictures:
    """Rows of which only id and class are known."""

    def of(self, split: str, row: int, number: int, label: int) -> Picture:
        """Id and class."""
        del split, row
        return Picture(number, label)


class PreparedPictures:
    """Small copies of prepared images; one that cannot be read any more is left out."""

    def __init__(self, folder: Path) -> None:
        """Open prepared data.

        Raises:
            StoreError: If there is none.
            CorruptStoreError: If it was changed.
        """
        self._paths = PreparedPaths(folder)
        self.unreadable: dict[str, str] = {}

    def of(self, split: str, row: int, number: int, label: int) -> Picture:
        """Small copy and path by the id.

        Raises:
            DataError: If the prepared data are those of other features.
        """
        del row
        source = self._paths.source(split)
        (place,) = self._paths.rows_of(split, np.array([number], dtype=np.int64)).tolist()
        path = source.paths[place] if source.paths else None
        try:
            content, (width, height) = small_copy(source.image(place))
        except DataError as error:
            self.unreadable[f"{split} {number}"] = str(error)
            return Picture(number, label, path)
        return Picture(number, label, path, content, width, height)


class ListedPictures:
    """Paths from lists, one line for each row, without small copies."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the lists."""
        self._paths = ListedPaths(folder)
        self._rows: dict[str, Mapping[int, int]] = {}

    def of(self, split: str, row: int, number: int, label: int) -> Picture:
        """Path by the number of the row."""
        if row < 0:
            return Picture(number, label)
        (path,) = self._paths.of(split, row, np.array([number], dtype=np.int64))
        return Picture(number, label, path)


def small_copy(image: "Image") -> tuple[bytes, tuple[int, int]]:
    """A WebP file of at most `LONGEST` pixels a side, and its width and height."""
    from PIL.Image import Resampling

    copy = image.convert("RGB")
    copy.thumbnail((LONGEST, LONGEST), Resampling.LANCZOS)
    file = io.BytesIO()
    if max(copy.size) <= _EXACT:
        copy.save(file, "WEBP", lossless=True, method=6)
    else:
        copy.save(file, "WEBP", quality=_QUALITY, method=6)
    return file.getvalue(), copy.size
