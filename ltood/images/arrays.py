"""Images in memory, aligned by row with their labels and ids."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.decoding import as_image

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images of one split in memory, aligned by row; an `ImageSource`.

    Attributes:
        images: Pixels, [N, H, W, C] uint8 with C 1 (grey) or 3 (RGB), N at least 1.
        labels: Classes, [N] int64; -1 for images outside the ID classes.
        ids: Row numbers in the source, [N] int64, none negative.
        skipped: Reason for each skipped image.
        paths: File that each image came from, relative to the root of its set, [N]; empty where
            they came in arrays.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    skipped: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check types, shapes, alignment and ranges."""
        images, labels, ids = self.images, self.labels, self.ids
        if images.dtype != np.uint8:
            raise DataError(
                f"images are {images.dtype}; they must be uint8 with values 0 to 255 "
                "(scale fractions by 255 and round)."
            )
        if images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DataError(
                f"images have shape {list(images.shape)}; it must be [N, H, W, C] with C 1 "
                "(grey) or 3 (RGB). Add or move the channel axis."
            )
        if images.size == 0:
            raise DataError(
                f"images have shape {list(images.shape)}, which holds no pixel; leave the "
                "split out or give it images."
            )
        for name, column in (("labels", labels), ("ids", ids)):
            if column.dtype != np.int64:
                raise DataError(f"{name} are {column.dtype}; they must be int64.")
            if column.shape != (len(images),):
                raise DataError(
                    f"{name} have shape {list(column.shape)} but there are {len(images)} images; "
                    "each image needs exactly one."
                )
        if len(self.paths) not in (0, len(images)):
            raise DataError(
                f"there are {len(self.paths)} paths but {len(images)} images; give one for each, "
                "or none."
            )
        _refuse_below(labels, -1, "labels", "-1 means outside the ID classes")
        _refuse_below(ids, 0, "ids", "they count rows of the source")

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.images)

    def take(self, rows: NDArray[np.int64]) -> "ImageSplit":
        """Copy the given rows, in the given order.

        Args:
            rows: Row numbers of this split, [M] int64, M at least 1.
        """
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            paths=tuple(self.paths[row] for row in rows) if self.paths else (),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The images, as `ImageSource` names them."""
        return self.images

    def columns(self) -> dict[str, NDArray[Any]]:
        """Arrays that prepared data hold of the split."""
        return {"images": self.images, "labels": self.labels, "ids": self.ids}

    def image(self, row: int) -> "Image":
        """One image as RGB."""
        return as_image(np.asarray(self.images[row]))

    def opened(self, row: int) -> AbstractContextManager["Image"]:
        """The same image for a block."""
        return nullcontext(self.image(row))


def with_channels(images: NDArray[Any]) -> NDArray[Any]:
    """Images [N, H, W] as [N, H, W, 1]; others as they are.

    Raises:
        DataError: If it may as well be one colour image [H, W, 3].
    """
    if images.ndim != 3:
        return images
    if images.shape[2] in (3, 4):
        raise DataError(
            f"images have shape {list(images.shape)}, which looks like one colour image; save "
            "colour images as [N, H, W, 3] and grey ones as [N, H, W, 1]."
        )
    return images[..., None]


def _refuse_below(column: NDArray[np.int64], lowest: int, name: str, why: str) -> None:
    bad = column < lowest
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{name}[{row}] is {column[row]}; {name} are {lowest} or more ({why}).")
