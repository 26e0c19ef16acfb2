"""Images of other splits that are training images too, byte for byte.

A test row that the network has learned flatters every figure, and an OOD row that it has learned
is none. Neither is an error, since published sets hold a few, but whoever made the splits should
hear of it.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles


class TrainingImages:
    """Remembers the training images and counts those that come again.

    Example:
        >>> images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        >>> labels, ids = np.array([0, 1]), np.arange(2)
        >>> train = TrainingImages(ImageSplit(images, labels, ids))
        >>> train.repeats(ImageSplit(images[::-1] + 1, labels, ids))
        0
        >>> train.repeats(ImageSplit(images[::-1], labels, ids))
        2
    """

    def __init__(self, train: ImageSplit | ImageFiles) -> None:
        """Remember the training images.

        Args:
            train: Arrays, or files with their checksums.
        """
        self._train = train
        self._order, self._sorted = _sorted(_digests(train))

    def repeats(self, split: ImageSplit | ImageFiles) -> int:
        """Number of images of `split` that are training images; arrays are no files.

        Args:
            split: Arrays, or files with their checksums.
        """
        if type(split) is not type(self._train):
            return 0
        digests = _digests(split)
        places = np.searchsorted(self._sorted, digests).clip(max=len(self._sorted) - 1)
        found = np.flatnonzero(self._sorted[places] == digests)
        if not (isinstance(split, ImageFiles) and isinstance(self._train, ImageFiles)):
            return len(found)
        # 32 bits repeat by chance among a million files, so their bytes are compared.
        pairs = ((int(row), int(self._order[places[row]])) for row in found)
        return sum(_equal(split, row, self._train, other) for row, other in pairs)


def _digests(split: ImageSplit | ImageFiles) -> NDArray[np.int64]:
    """One number for each image, [N]."""
    if isinstance(split, ImageFiles):
        assert split.checksums is not None
        return split.checksums
    blocks = (
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()
        for image in split.images
    )
    return np.frombuffer(b"".join(blocks), dtype=np.int64)


def _sorted(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.argsort(values, kind="stable")
    return order, values[order]


def _equal(one: ImageFiles, row: int, other: ImageFiles, other_row: int) -> bool:
    try:
        return one.content(row) == other.content(other_row)
    except DataError:  # Changed since it was checked, which extraction will refuse.
        return False
