"""Images in memory, and what every dataset entry offers.

A dataset entry (`ltood/datasets/<name>.py`) holds a frozen dataclass `Config`, the text
`SOURCE` (where the images come from, under which licence) and a class `Dataset` that is an
`ImageDataset`. NumPy only, so that preparing array data needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError

if TYPE_CHECKING:
    from ltood.core.image_files import ImageFiles


@dataclass(frozen=True)
class ImageSplit:
    """Images of one split, aligned by row.

    Attributes:
        images: Pixels, [N, H, W, C] uint8 with C 1 (grey) or 3 (RGB), N at least 1.
        labels: Classes, [N] int64; -1 for images outside the ID classes.
        ids: Row numbers in the source, [N] int64, none negative.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]

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
        return ImageSplit(self.images[rows], self.labels[rows], self.ids[rows])


def _refuse_below(column: NDArray[np.int64], lowest: int, name: str, why: str) -> None:
    bad = column < lowest
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{name}[{row}] is {column[row]}; {name} are {lowest} or more ({why}).")


class ImageDataset(Protocol):
    """A set of ID classes with its splits and its OOD test sets."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, [C], in label order."""

    def splits(self) -> tuple[str, ...]:
        """Names of all splits: train, test, optional val and aux, and ood_<name>."""

    def split(self, name: str) -> "ImageSplit | ImageFiles":
        """Images of one split, the training split already cut to its long tail.

        Pictures may stay on disk, for backbones that bring them to a size of their own.

        Raises:
            DataError: If there is no such split or its files are unusable.
        """


class ImageData(Protocol):
    """Prepared images of all splits, as training and extraction read them."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Plain values: `dataset` (its name), `settings`, and `splits` with checksums by name."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, [C]."""

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images of each class, [C]."""

    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""

    def split(self, name: str) -> ImageSplit:
        """Arrays of one split, read-only.

        Raises:
            DataError: If its pictures are files.
        """

    def source(self, name: str) -> "ImageSplit | ImageFiles":
        """Arrays or picture files of one split."""
