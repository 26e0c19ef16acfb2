"""Run a backbone: images of a chunk in, rows of a store out."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.extraction.config import ExtractionConfig
from ltood.images.decoding import Transform, decode
from ltood.images.sources import ImageData, ImageSource
from ltood.store.layout import VIEWS_SPLIT

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
        source: Their images.
        start: The first row.
        stop: The row after the last.
        step: Rows of a batch.
        transform: Makes an image an array; None takes the arrays as they are.
    """

    split: str
    source: ImageSource
    start: int
    stop: int
    step: int
    transform: Transform | None

    def __len__(self) -> int:
        return self.stop - self.start

    def loads(self) -> list[Callable[[], NDArray[np.uint8]]]:
        """Loaders of the pixels of each batch, [n, H, W, C], or [n, V, H, W, C] for views."""
        firsts = range(self.start, self.stop, self.step)
        return [partial(self._load, first, min(first + self.step, self.stop)) for first in firsts]

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
    ) -> None:
        import torch

        on_gpu = device.type == "cuda"
        last = on_gpu if config.channels_last is None else config.channels_last
        self._layout = torch.channels_last if last else torch.contiguous_format
        self._backbone = backbone.to(memory_format=self._layout)
        self._device, self._precision = device, precision
        self._batch_size = config.batch_size

    def part(self, data: ImageData, name: str, rows: tuple[int, int]) -> Part:
        """Rows of the split `name` of the store, with their images."""
        if name == VIEWS_SPLIT:
            views = training_views(data, self._backbone)
            assert views is not None  # the store has the split
            step = max(1, self._batch_size // views.num)
            return Part(name, data.source("train"), *rows, step, views)
        source, geometry = data.source(name), self._backbone.geometry
        if source.shape is not None and geometry is not None:
            fits = source.shape[:2] == geometry.size
            geometry = geometry if self._backbone.fixed_size and not fits else None
        return Part(name, source, *rows, self._batch_size, geometry)

    def rows(self, part: Part, blocks: Iterator[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
        """Arrays of one part, the next of whose blocks of pixels are its own."""
        import torch

        from ltood.runtime.devices import autocast, no_tf32

        outputs: dict[str, list[torch.Tensor]] = {}
        precision = autocast(self._device, self._precision)
        with torch.inference_mode(), no_tf32(), precision:
            for block in islice(blocks, len(part.loads())):
                for name, values in self._outputs(block).items():
                    outputs.setdefault(name, []).append(values)
        return {
            **{name: torch.cat(values).cpu().numpy() for name, values in outputs.items()},
            "labels": np.array(part.source.labels[part.start : part.stop]),
            "ids": np.array(part.source.ids[part.start : part.stop]),
        }

    def _outputs(self, block: NDArray[np.uint8]) -> "dict[str, torch.Tensor]":
        """Arrays of one batch of pixels by name."""
        import torch

        pixels = torch.from_numpy(block).to(self._device).flatten(0, -4)
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=self._layout)
        pooled, local = self._backbone.embed(scaled)
        found = {"features": pooled.float()}
        if local is not None and self._backbone.local_shape is not None:
            found["local"] = local.half()
        rows = block.shape[:-3]  # [n], or [n, V] for views
        found = {key: values.reshape(*rows, *values.shape[1:]) for key, values in found.items()}
        if self._backbone.has_head and block.ndim == 4:
            found["logits"] = self._backbone.classify(pooled).float()
        return found
