"""Images of other splits that are training images too, byte for byte.

Test images that also occur in training inflate every metric; OOD images that occur in training
are not OOD. Neither is an error, since published sets hold a few, but it should
be reported.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

import numpy as np

from ltood.images.sources import ImageSource


class KnownImages:
    """The images of a split by their digests, which are computed once.

    Example:
        >>> from ltood.images.arrays import ImageSplit
        >>> images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        >>> labels, ids = np.array([0, 1]), np.arange(2)
        >>> known = KnownImages(ImageSplit(images, labels, ids))
        >>> known.repeated_by(KnownImages(ImageSplit(images[::-1] + 1, labels, ids)))
        0
        >>> known.repeated_by(KnownImages(ImageSplit(images[::-1], labels, ids)))
        2
    """

    def __init__(self, split: ImageSource) -> None:
        """Remember the images of a split.

        Args:
            split: Arrays, or files with their digests.
        """
        self._digests = list(_digests(split))
        self._first: dict[bytes, int] = {}
        for row, digest in enumerate(self._digests):
            self._first.setdefault(digest, row)

    def repeated_by(self, other: "KnownImages") -> int:
        """Number of images of `other` that are known here; an array never equals a file.

        Args:
            other: The images of another split.
        """
        return sum(digest in self._first for digest in other._digests)

    def examples(self, other: "KnownImages", most: int) -> list[tuple[int, int]]:
        """Rows of `other` that are known here, each with its row here, at most `most`."""
        known = (
            (row, self._first[digest])
            for row, digest in enumerate(other._digests)
            if digest in self._first
        )
        return list(islice(known, most))


def _digests(split: ImageSource) -> Iterator[bytes]:
    """One value for each image of a split, different for different images."""
    columns = split.columns()
    if "digests" in columns:
        for digest in columns["digests"]:
            yield digest.tobytes()
        return
    shape = repr(split.shape).encode()
    for image in columns["images"]:
        yield hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=shape).digest()
