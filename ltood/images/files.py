"""Images that stay in files until their pixels are needed.

`ImageFiles` is a split whose images are files; `decoding` reads them.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.decoding import decode_image, decoded_image

if TYPE_CHECKING:
    from PIL.Image import Image

OnError = Literal["raise", "skip"]
#: Endings of files that count as images, in lower case.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"),
    *(".jfif", ".jpe", ".jp2", ".avif"),
)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images of one split as files on disk, aligned by row; an `ImageSource`.

    Attributes:
        root: Folder that the paths start from.
        paths: Path of each file relative to the root, with forward slashes, [N].
        labels: Classes, [N] int64; -1 for images outside the ID classes.
        ids: Row numbers in the source, [N] int64, none negative.
        digests: SHA-256 of each file when the split was prepared, [N, 32] uint8; None before
            that.
        on_error: What preparing does about a file that cannot be decoded: refuse, or list and
            skip it.
        notes: Remarks about the files for whoever prepares them, one sentence each.
        skipped: Reason for each skipped file.
        jpeg_side: As `decode_image` takes it.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    digests: NDArray[np.uint8] | None = None
    on_error: OnError = "raise"
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    jpeg_side: int | None = None

    @property
    def shape(self) -> None:
        """None: files have sizes of their own."""

    @property
    def pixels(self) -> None:
        """None: nothing is in memory."""

    def __post_init__(self) -> None:
        """Check that there are files and that all columns have one value for each."""
        if not self.paths:
            raise DataError(
                f"{self.root} gives no images; leave the split out or give it some "
                f"({', '.join(SUFFIXES[:3])} and others are read)."
            )
        num = len(self.paths)
        shapes = {"labels": (num,), "ids": (num,), "digests": (num, 32)}
        for name, shape in shapes.items():
            column = getattr(self, name)
            if column is not None and column.shape != shape:
                raise DataError(
                    f"{name} have shape {list(column.shape)} but there are {num} image files; "
                    f"it must be {list(shape)}."
                )

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.paths)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The given rows, in the given order."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            ids=self.ids[rows],
            digests=None if self.digests is None else self.digests[rows],
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """Arrays that prepared data hold of the split."""
        assert self.digests is not None  # preparing has read every file
        return {"labels": self.labels, "ids": self.ids, "digests": self.digests}

    def image(self, row: int) -> "Image":
        """Decode one image to RGB.

        Raises:
            DataError: As `content` raises it, or if the file is not an image.
        """
        return decode_image(self.content(row), str(self.path(row)), self.jpeg_side)

    @contextmanager
    def opened(self, row: int) -> Iterator["Image"]:
        """The same image for a block, which waits until there is room for it."""
        with decoded_image(self.content(row), str(self.path(row)), self.jpeg_side) as image:
            yield image

    def path(self, row: int) -> Path:
        """Path of image `row`."""
        return self.root / self.paths[row]

    def content(self, row: int) -> bytes:
        """Bytes of the file of image `row`, known to be those that were prepared.

        Raises:
            DataError: If the file is gone, unreadable, or another one than was prepared.
        """
        path, found = self.path(row), self._bytes(row)
        if self.digests is not None:
            recorded = self.digests[row].tobytes()
            if hashlib.sha256(found).digest() != recorded:
                raise DataError(
                    f"{path} was changed after it was prepared (its SHA-256 differs); restore the "
                    "file or run the prepare stage again (`dvc repro`)."
                )
        return found

    def _bytes(self, row: int) -> bytes:
        path = self.path(row)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror or error}); put the file back or run "
                "the prepare stage again."
            ) from error
