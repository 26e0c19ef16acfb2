"""Images whose files are packed into larger ones, such as Parquet, or the file of prepared data."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.files import ImageFiles


class Pack(Protocol):
    """Contents of image files by their numbers."""

    def read(self, number: int) -> bytes:
        """Bytes of one image file.

        Raises:
            DataError: If they cannot be read.
        """


@dataclass(frozen=True, eq=False)
class PackedFiles(ImageFiles):
    """Image files in a pack, aligned by row; their paths are names alone.

    Attributes:
        pack: Gives their bytes.
        places: Number of each image in the pack, [N].
        shards: Files that the pack is made of, below the root.
    """

    pack: Pack = field(kw_only=True)
    places: NDArray[np.int64] = field(kw_only=True)
    shards: tuple[str, ...] = field(default=(), kw_only=True)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The given rows, in the given order."""
        return replace(super().take(rows), places=self.places[rows])

    def _bytes(self, row: int) -> bytes:
        return self.pack.read(int(self.places[row]))


class BinaryPack:
    """Image files behind one another in one file, mapped into memory."""

    def __init__(self, path: Path, ends: NDArray[np.int64]) -> None:
        """Take where they are.

        Args:
            path: The file.
            ends: Where each image file ends in it, [N].

        Raises:
            DataError: If the file is missing or has another size.
        """
        self._path, self._ends = path, ends
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}); run the prepare stage again "
                "(`dvc repro`)."
            ) from error
        if size != (int(ends[-1]) if len(ends) else 0) or bool(
            (np.diff(ends, prepend=0) < 0).any()
        ):
            raise DataError(
                f"{path} has {size:,} bytes, which do not fit its index; run the prepare stage "
                "again (`dvc repro`)."
            )
        # An empty file cannot be mapped.
        self._bytes = np.memmap(path, mode="r") if size else np.zeros(0, np.uint8)

    def read(self, number: int) -> bytes:
        """Bytes of one image file."""
        start = int(self._ends[number - 1]) if number else 0
        return self._bytes[start : int(self._ends[number])].tobytes()
