"""Images that stay in files until somebody needs their pixels.

`ImageFiles` is a split whose images are files; `decoding` reads them.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError

OnError = Literal["raise", "skip"]
#: Suffixes of files that count as pictures, in lower case.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ImageFiles:
    """Pictures of one split on disk, aligned by row.

    Attributes:
        root: Folder that the paths start from.
        paths: Path of each picture relative to the root, with forward slashes, [N].
        labels: Classes, [N] int64; -1 for pictures outside the ID classes.
        ids: Row numbers in the source, [N] int64, none negative.
        checksums: CRC-32 of each file's bytes when the split was prepared, [N] int64; None
            before that.
        on_error: What preparing does about a file that is no readable picture: refuse, or list
            it and leave it out.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    checksums: NDArray[np.int64] | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        """Check that there are pictures and that all columns have one value for each."""
        if not self.paths:
            raise DataError(
                f"{self.root} gives no pictures; leave the split out or give it some "
                f"({', '.join(SUFFIXES[:3])} and others are read)."
            )
        for name in ("labels", "ids", "checksums"):
            column = getattr(self, name)
            if column is not None and column.shape != (len(self.paths),):
                raise DataError(
                    f"{name} have shape {list(column.shape)} but there are {len(self.paths)} "
                    "pictures; each needs exactly one."
                )

    def __len__(self) -> int:
        """Number of pictures N."""
        return len(self.paths)

    def take(self, rows: NDArray[np.int64]) -> "ImageFiles":
        """The given rows, in the given order."""
        return ImageFiles(
            self.root,
            tuple(self.paths[row] for row in rows),
            self.labels[rows],
            self.ids[rows],
            None if self.checksums is None else self.checksums[rows],
            self.on_error,
        )

    def path(self, row: int) -> Path:
        """Where picture `row` lies."""
        return self.root / self.paths[row]

    def content(self, row: int) -> bytes:
        """Bytes of the file of picture `row`, known to be those that were prepared.

        Raises:
            DataError: If the file is gone, unreadable, or another one than was prepared.
        """
        path = self.path(row)
        try:
            found = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}); put the file back or run "
                "the prepare stage again."
            ) from error
        if self.checksums is not None and zlib.crc32(found) != self.checksums[row]:
            raise DataError(
                f"{path} was changed after it was prepared (its CRC-32 differs); restore the file "
                "or run the prepare stage again."
            )
        return found
