"""Interfaces of dataset entries, and of images that training and extraction read.

A dataset entry (`ltood/datasets/<name>.py`) holds a frozen dataclass `Config`, the text
`SOURCE` (where the images come from, under which licence) and a class `Dataset` that is an
`ImageDataset`. NumPy only, so that preparing array data needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ltood.images.arrays import ImageSplit
from ltood.images.decoding import Decodable
from ltood.images.files import ImageFiles
from ltood.runtime.provenance import digest

#: Settings of dataset entries that say where files are. What the files hold counts instead.
PLACES = ("root", "ood", "csid", "val_ood", "aux", "shots_list", "split_file")


class ImageSource(Decodable, Protocol):
    """Images of one split, aligned by row, in memory or as files."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes, [N]; -1 for images outside the ID classes."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Row numbers in the source, [N]."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Reason for each skipped image."""

    @property
    def paths(self) -> tuple[str, ...]:
        """File of each image relative to the root of its set, [N]; empty for those of arrays."""

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of every image; None for files, which differ."""

    @property
    def pixels(self) -> NDArray[np.uint8] | None:
        """Images in memory, [N, H, W, C]; None for files, which `image` decodes one by one."""

    def __len__(self) -> int:
        """Number of images N."""

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The given rows, in the given order; at least one."""

    def columns(self) -> dict[str, NDArray[Any]]:
        """Arrays that prepared data hold of the split, each of N rows."""


@dataclass(frozen=True)
class WatchedFiles:
    """Files that decide what is prepared.

    Attributes:
        root: Folder that the paths start from.
        paths: Their paths with forward slashes, in an order that does not depend on the system.
        stay: Whether they are read after preparing too, so that it matters where they lie.
        first: How many rows of theirs are taken; None takes all.
    """

    root: Path
    paths: tuple[str, ...]
    stay: bool = False
    first: int | None = None

    @classmethod
    def of(cls, path: Path, *, first: int | None = None) -> "WatchedFiles":
        """One file that is read while preparing and no more."""
        return cls(path.parent, (path.name,), first=first)


class ImageDataset(Protocol):
    """A set of ID classes with its splits and its OOD test sets."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, [C], in label order."""

    def splits(self) -> tuple[str, ...]:
        """Names of all splits: train, test, optional val and aux, and ood_<name>."""

    def split(self, name: str) -> "ImageSplit | ImageFiles":
        """Images of one split, the training split already cut to its long tail.

        Images may stay in files, for backbones that bring them to a size of their own.

        Raises:
            DataError: If there is no such split or its files are unusable.
        """

    def watched(self) -> Mapping[str, WatchedFiles]:
        """All files that the splits are made from, by split, or by the name of a list.

        Cheap: folders are listed, and nothing but lists is read.

        Raises:
            DataError: If a folder or file is missing.
        """


class ImageData(Protocol):
    """Prepared images of all splits, as training and extraction read them."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Plain values: `dataset` (its name), and `splits` with the digest `content` by name."""

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
            DataError: If its images are files.
        """

    def source(self, name: str) -> ImageSource:
        """Arrays or image files of one split."""


def images_digest(data: ImageData) -> str:
    """Digest of prepared images that is the same whatever their files are called.

    Args:
        data: The images, with their dataset and its settings.
    """
    described = data.manifest
    splits = {name: entry["content"] for name, entry in described["splits"].items()}
    kept = {key: value for key, value in described.items() if key not in ("sha256", "splits")}
    return digest({**kept, "splits": splits})
