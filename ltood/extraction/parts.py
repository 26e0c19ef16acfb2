"""Rows of a split that are computed together: their images, and the batches they make.

Batches are cut from the first row of a part on, and a part begins and ends with chunks of the
store. So a batch holds the same images whoever computes it, and none straddles a chunk: where
chunks are shorter than a batch, several whole ones share it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ltood.extraction.gathering import Range
from ltood.images.decoding import Geometry
from ltood.images.sources import ImageData, ImageSource
from ltood.images.views import RandomViews
from ltood.store.layout import VIEWS_SPLIT

if TYPE_CHECKING:
    from ltood.networks.backbone import Backbone


def training_views(data: ImageData, backbone: "Backbone") -> RandomViews | None:
    """Random views of the training images, if the backbone needs them."""
    if "train" not in data.splits():
        return None
    # Not a copy: every part of the split has views of its own.
    return backbone.training_views(np.asarray(data.source("train").ids))


def rows_at_once(chunk_rows: int, batch_rows: int) -> int:
    """Rows of a part: one chunk, or as many whole ones as a batch holds."""
    return chunk_rows * max(1, batch_rows // chunk_rows)


@dataclass(frozen=True)
class Part:
    """Rows of one split that make one chunk of the store, or several short ones.

    Attributes:
        split: Split of the store.
        wanted: Chunks to compute of the split and of its parts with extra arrays, by name.
        source: Their images.
        start: The first row.
        stop: The row after the last.
        step: Rows of a batch.
        transform: Makes an image an array; None takes the arrays as they are.
    """

    split: str
    wanted: Mapping[str, Sequence[Range]]
    source: ImageSource
    start: int
    stop: int
    step: int
    transform: Geometry | RandomViews | None

    def __len__(self) -> int:
        return self.stop - self.start

    def batches(self) -> list[Range]:
        """Rows of each batch that some chunk needs."""
        found = [
            (first, min(first + self.step, self.stop))
            for first in range(self.start, self.stop, self.step)
        ]
        return [batch for batch in found if any(self.needs(name, batch) for name in self.wanted)]

    def needs(self, name: str, batch: Range) -> bool:
        """Whether a chunk of the split or part `name` holds rows of a batch."""
        return any(start < batch[1] and batch[0] < stop for start, stop in self.wanted[name])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the pixels of one row, [H, W, C], or [V, H, W, C] for views."""
        if isinstance(self.transform, RandomViews):
            return (self.transform.num, self.transform.size, self.transform.size, 3)
        if self.transform is not None:
            return (*self.transform.size, 3)
        assert self.source.shape is not None  # _check_images refuses files otherwise
        return self.source.shape

    def fill(self, pixels: NDArray[np.uint8], first: int) -> None:
        """Write the pixels of the rows from `first` on into an array of the rows' shape.

        Raises:
            DataError: If a file is missing, changed or not an image.
        """
        if self.transform is None:
            assert self.source.pixels is not None
            pixels[:] = self.source.pixels[first : first + len(pixels)]
            return
        for place in range(len(pixels)):
            row = first + place
            with self.source.opened(row) as image:
                pixels[place] = self.transform(image, row)


def part_of(
    data: ImageData,
    backbone: "Backbone",
    batch_size: int,
    name: str,
    rows: Range,
    wanted: Mapping[str, Sequence[Range]],
) -> Part:
    """Rows of the split `name` of the store, with their images."""
    step = batch_rows(data, backbone, batch_size, name)
    if name == VIEWS_SPLIT:
        views = training_views(data, backbone)
        assert views is not None  # the store has the split
        return Part(name, wanted, data.source("train"), *rows, step, views)
    source, geometry = data.source(name), backbone.geometry
    if source.shape is not None and geometry is not None:
        fits = source.shape[:2] == geometry.size
        geometry = geometry if backbone.fixed_size and not fits else None
    return Part(name, wanted, source, *rows, step, geometry)


def batch_rows(data: ImageData, backbone: "Backbone", batch_size: int, name: str) -> int:
    """Rows of a split whose images, or views of them, make one batch."""
    if name != VIEWS_SPLIT:
        return batch_size
    views = training_views(data, backbone)
    return batch_size if views is None else max(1, batch_size // views.num)
