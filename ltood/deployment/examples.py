"""Training images that a detector brings along, so that a verdict can show the most similar ones.

A detector may keep the calibrated features of training images, each divided by its length and
rounded to float16, with ids, classes and paths. Of a larger training set it keeps a part: every
class the same number, and all images of a class with fewer, evenly spaced by id, so that the same
images are chosen each time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError
from ltood.ops.lengths import unit
from ltood.ops.neighbours import search

#: Training images that are named with a verdict.
NUM_EXAMPLES = 3

#: Paths of training images by their ids, [n]; None where an image has no file.
PathsOf = Callable[[NDArray[np.int64]], Sequence[str | None]]


@dataclass(frozen=True, eq=False)
class Examples:
    """N training images.

    Attributes:
        features: Calibrated features of unit length (or zero), [N, D] float16.
        ids: Ids in the split train, [N] int64.
        labels: Classes, [N] int64.
        paths: Image files; None where an image came in an array.
    """

    features: Tensor
    ids: Tensor
    labels: Tensor
    paths: tuple[str | None, ...]

    def __post_init__(self) -> None:
        """Check that all columns have the same rows."""
        rows = [len(self.features), len(self.ids), len(self.labels), len(self.paths)]
        if len(set(rows)) > 1 or self.features.ndim != 2:
            raise DataError(f"columns of training images have {rows} rows; give one value each.")

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.ids)

    def name(self, row: int) -> str:
        """File of an image, or where it stands in the split train."""
        path = self.paths[row]
        return f"train[{int(self.ids[row])}]" if path is None else path

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Most similar images, [n, 3], and their cosine similarities; exact.

        Args:
            features: Calibrated features, [n, D] float32.
        """
        queries = unit(features)
        found = search(queries, self._bank, min(NUM_EXAMPLES, len(self))).indices
        # Taken from the rows themselves: a search gives differences of squares.
        cosines = [(queries * self._bank[rows]).sum(dim=1) for rows in found.T]
        return found, torch.stack(cosines, dim=1).clamp(-1, 1)

    @cached_property
    def _bank(self) -> Tensor:
        """Features as they are searched, [N, D] float32; rounding has changed their lengths."""
        return unit(self.features.float())

    def tensors(self) -> dict[str, Tensor]:
        """Tensors by name; paths are UTF-8 between zero bytes, empty for None."""
        text = "\0".join("" if path is None else path for path in self.paths)
        raw = text.encode("utf-8", "surrogateescape")
        return {
            "features": self.features,
            "ids": self.ids,
            "labels": self.labels,
            "paths": torch.frombuffer(bytearray(raw + b"\0"), dtype=torch.uint8),
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The images whose `tensors()` are given."""
        raw = bytes(tensors["paths"].cpu().numpy())[:-1]
        paths = raw.decode("utf-8", "surrogateescape").split("\0")
        named = tuple(path or None for path in paths)
        return cls(tensors["features"], tensors["ids"], tensors["labels"], named)


def choose_examples(
    ids: NDArray[np.int64], labels: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Rows of at most `most` images, ascending: as many of each class as there is room for.

    Args:
        ids: Ids of the images, [N].
        labels: Their classes, [N].
        most: Number of images to keep.
    """
    if len(ids) <= most:
        return np.arange(len(ids))
    counts = np.bincount(labels)
    kept = _shares(counts, most)
    order = np.lexsort((ids, labels))
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    chosen = [
        order[start + np.arange(num) * count // num]
        for start, count, num in zip(starts, counts, kept, strict=True)
        if num
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def _shares(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Images of each class, [C]: equal, but no more than it has; the first classes get the rest."""
    ordered = np.sort(counts)
    below = np.concatenate([[0], ordered.cumsum()])[:-1]
    # With the smaller classes kept whole, what is left is shared by the others.
    room = (most - below) // np.arange(len(counts), 0, -1)
    level = int(room[np.argmax(room < ordered)])
    kept = np.minimum(counts, level)
    larger = np.flatnonzero(counts > level)
    kept[larger[: most - int(kept.sum())]] += 1
    return kept


def gather_examples(
    batches: Iterable[tuple[Tensor, Tensor, Tensor]], rows: NDArray[np.int64], paths: PathsOf | None
) -> Examples:
    """Read some rows of the training set.

    Args:
        batches: Calibrated features, ids and labels of all rows in order.
        rows: Rows to keep, ascending.
        paths: Where the images lie, if that is known.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    start = 0
    for features, ids, labels in batches:
        inside = rows[(rows >= start) & (rows < start + len(ids))] - start
        chosen = torch.from_numpy(inside).to(features.device)
        parts.append((unit(features[chosen]).half(), ids[chosen], labels[chosen]))
        start += len(ids)
    features, ids, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    found = [None] * len(ids) if paths is None else paths(ids.cpu().numpy())
    return Examples(features, ids, labels, tuple(found))
