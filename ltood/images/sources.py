"""What dataset entries offer, and what training and extraction read.

A dataset entry (`ltood/datasets/<name>.py`) holds a frozen dataclass `Config`, the text
`SOURCE` (where the images come from, under which licence) and a class `Dataset` that is an
`ImageDataset`. NumPy only, so that preparing array data needs no torch.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles


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
