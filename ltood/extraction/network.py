"""Run a backbone: images of a chunk in, rows of a store out."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.extraction.buffers import Buffer, Range
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extras import Extra
from ltood.images.decoding import Transform, decode
from ltood.images.sources import ImageData, ImageSource
from ltood.store.layout import VIEWS_SPLIT, group_of

if TYPE_CHECKING:
    import torch

    from ltood.images.views import RandomViews
    from ltood.networks.backbone import Backbone
    from ltood.runtime.devices import Precision


def training_views(data: ImageData, backbone: "Backbone") -> "RandomViews | None":
    """Random views of the training images, if the backbone needs them."""
    if "train" not in data.splits():
        return None
    return backbone.training_views(np.array(data.source("train").ids))


@dataclass(frozen=True)
class Part:
    """Rows of one split that make a chunk of the store.

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
    transform: Transform | None

    def __len__(self) -> int:
        return self.stop - self.start

    def loads(self) -> list[Callable[[], NDArray[np.uint8]]]:
        """Loaders of the pixels of each batch, [n, H, W, C], or [n, V, H, W, C] for views."""
        return [partial(self._load, first, last) for first, last in self.batches()]

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

    def _load(self, first: int, last: int) -> NDArray[np.uint8]:
        if self.transform is not None:
            return decode(self.source, range(first, last), self.transform)
        assert self.source.pixels is not None  # _check_images refuses files otherwise
        # A copy, because memory-mapped rows are read-only, which torch does not know.
        return np.array(self.source.pixels[first:last])


def load_ahead(loads: Iterable[Callable[[], NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
    """Blocks of pixels in order, the next one being loaded while one is in use."""
    waiting: Future[NDArray[np.uint8]] | None = None
    with ThreadPoolExecutor(1) as pool:
        for load in loads:
            following = pool.submit(load)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


class Network:
    """A backbone that turns row ranges of images into the arrays of a store."""

    def __init__(
        self,
        backbone: "Backbone",
        device: "torch.device",
        precision: "Precision",
        config: ExtractionConfig,
        extras: Mapping[str, Extra],
    ) -> None:
        from ltood.networks.pixels import memory_layout

        self._layout = memory_layout(config.channels_last, device)
        self._backbone = backbone.to(memory_format=self._layout)
        self._backbone.requires_grad_(False)  # Gradients go to pixels alone.
        self._device, self._precision = device, precision
        self._batch_size, self._extras = config.batch_size, extras

    def part(
        self, data: ImageData, name: str, rows: Range, wanted: Mapping[str, Sequence[Range]]
    ) -> Part:
        """Rows of the split `name` of the store, with their images."""
        if name == VIEWS_SPLIT:
            views = training_views(data, self._backbone)
            assert views is not None  # the store has the split
            step = max(1, self._batch_size // views.num)
            return Part(name, wanted, data.source("train"), *rows, step, views)
        source, geometry = data.source(name), self._backbone.geometry
        if source.shape is not None and geometry is not None:
            fits = source.shape[:2] == geometry.size
            geometry = geometry if self._backbone.fixed_size and not fits else None
        return Part(name, wanted, source, *rows, self._batch_size, geometry)

    def chunks(
        self, part: Part, blocks: Iterator[NDArray[np.uint8]]
    ) -> Iterator[tuple[str, int, dict[str, NDArray[Any]]]]:
        """Chunks of one part, the next of whose blocks of pixels are its own.

        Yields:
            Name of the split or part, first row, and arrays of each chunk as soon as it is whole.
        """
        buffers = {name: Buffer(ranges) for name, ranges in part.wanted.items()}
        for batch in part.batches():
            needed = [name for name in part.wanted if part.needs(name, batch)]
            for name, arrays in self._outputs(next(blocks), needed).items():
                for start, stop, whole in buffers[name].add(batch[0], arrays):
                    if not group_of(name):
                        whole["labels"] = np.array(part.source.labels[start:stop])
                        whole["ids"] = np.array(part.source.ids[start:stop])
                    yield name, start, whole

    def _outputs(
        self, block: NDArray[np.uint8], needed: Sequence[str]
    ) -> "dict[str, dict[str, torch.Tensor]]":
        """Arrays of one batch of pixels, for the split and its parts by name."""
        import torch

        from ltood.networks.pixels import images_as_input
        from ltood.runtime.devices import autocast, upload

        scaled = images_as_input(upload(torch.from_numpy(block), self._device), self._layout)
        base = functools.cache(lambda: self._base(scaled, block.shape[:-3]))
        found = {}
        for name in needed:
            if not group_of(name):
                found[name] = base()[0]
                continue
            with autocast(self._device, self._precision):
                extra = self._extras[group_of(name)]
                found[name] = dict(extra.compute(scaled, lambda: base()[1]))
        return found

    def _base(
        self, scaled: "torch.Tensor", rows: tuple[int, ...]
    ) -> "tuple[dict[str, torch.Tensor], torch.Tensor]":
        """Arrays of the split itself, and features, of images [n, ...] or views [n x V, ...]."""
        import torch

        from ltood.runtime.devices import autocast

        with torch.inference_mode():
            with autocast(self._device, self._precision):
                pooled, local = self._backbone.embed(scaled)
            found = {"features": pooled.float()}
            if local is not None and self._backbone.local_shape is not None:
                found["local"] = local.half()
            found = {key: values.reshape(*rows, *values.shape[1:]) for key, values in found.items()}
            if self._backbone.has_head and len(rows) == 1:
                # In float32, as stage two computes them: a coarser format ties rows.
                found["logits"] = self._backbone.classify(found["features"])
        return found, pooled
