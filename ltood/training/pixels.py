"""Pixels of a split for training: held on the device whole, or decoded ahead of the steps.

Small images lie on the device as one uint8 tensor. Image files, and arrays that must come to
another size, are decoded and cut by threads while the device computes (Pillow works outside
Python's lock); at most the requested batches wait. Every random part depends
on the counters of its step, the row and the view alone, never on threads or on what was decoded
before.
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.images.decoding import Geometry, decoding_threads, resized
from ltood.images.sources import ImageSource
from ltood.images.views import AREA, crop_box
from ltood.networks.backbone import Backbone
from ltood.runtime.devices import host_memory, upload
from ltood.runtime.distributed import Ranks
from ltood.training.counted import derive_seed
from ltood.training.sharing import gathered, split_evenly

if TYPE_CHECKING:
    from PIL.Image import Image

#: Rows of one look at a validation split.
_EVAL_ROWS = 1000
#: The same for whole images.
_EVAL_IMAGES = 128


@dataclass(frozen=True)
class BatchRequest:
    """Rows and views whose pixels a step needs.

    Attributes:
        rows: Rows of the split, n at least 1.
        cuts: For each view whether it is a random part of the image, stretched to the size;
            otherwise the whole image is brought to it.
        seed: Decides the parts.
        counters: Counters of the step.
        smallest: Least share of an image that a part shows.
    """

    rows: tuple[int, ...]
    cuts: tuple[bool, ...]
    seed: int
    counters: tuple[int | str, ...]
    smallest: float = AREA[0]


class ImageProvider(Protocol):
    """Pixels of one split."""

    #: Whether random parts were cut already, so that nothing may be cut again.
    cuts_parts: bool

    def __len__(self) -> int:
        """Number of rows N."""

    def prefetch(self, wanted: BatchRequest) -> None:
        """Start loading the images of a batch that `views` will soon request, in that order."""

    def views(self, wanted: BatchRequest) -> tuple[Tensor, ...]:
        """Each view of the rows, [n, channels, H, W] uint8 on the device."""

    def blocks(self) -> Generator[Tensor]:
        """All rows in order and whole, [n, channels, H, W] uint8 on the device."""

    def close(self) -> None:
        """Stop the threads; pending requests are dropped."""


def pixels_of(
    source: ImageSource,
    backbone: Backbone,
    device: torch.device,
    ranks: Ranks,
    *,
    beside_files: bool = False,
) -> ImageProvider:
    """Pixels of a split in the size that the backbone takes.

    Args:
        source: Arrays or image files; files only for a backbone with a geometry.
        backbone: What they are for.
        device: Where the views are wanted.
        ranks: This process among others that decode the same batches.
        beside_files: Whether arrays go through the network together with image files, and so
            must come to their size.
    """
    geometry = backbone.geometry
    if source.pixels is not None:
        fits = geometry is None or source.pixels.shape[1:3] == geometry.size
        if fits or not (beside_files or backbone.fixed_size):
            return InMemoryImages(source.pixels, device)
    assert geometry is not None
    return PrefetchedImages(source, geometry, device, ranks)


class InMemoryImages:
    """Images that lie on the device as one tensor."""

    cuts_parts = False

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device) -> None:
        """Move the images to the device."""
        images = torch.from_numpy(pixels.copy()).to(device)
        self._images = images.permute(0, 3, 1, 2).contiguous()

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._images)

    def prefetch(self, wanted: BatchRequest) -> None:
        """Do nothing: all rows are there."""

    def views(self, wanted: BatchRequest) -> tuple[Tensor, ...]:
        """The same whole images for every view."""
        rows = upload(torch.tensor(wanted.rows), self._images.device)
        return (self._images[rows],) * len(wanted.cuts)

    def blocks(self) -> Generator[Tensor]:
        """All rows in order."""
        yield from torch.split(self._images, _EVAL_ROWS)

    def close(self) -> None:
        """Do nothing: there are no threads."""


class PrefetchedImages:
    """Images that threads decode before they are needed."""

    cuts_parts = True

    def __init__(
        self,
        source: ImageSource,
        geometry: Geometry,
        device: torch.device,
        ranks: Ranks,
        *,
        workers: int | None = None,
    ) -> None:
        """Take the images; threads start with the first demand.

        Args:
            source: Image files, or arrays of another size than that of the geometry.
            geometry: Size of the views, and how whole images come to it.
            device: Where the views are wanted.
            ranks: Each of them decodes its share of every batch and gets that of the others.
            workers: Threads; None takes one for each processor, at most 16.
        """
        self._source, self._geometry, self._device = source, geometry, device
        self._ranks = ranks
        self._workers = workers or decoding_threads()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[BatchRequest, list[Future[NDArray[np.uint8]]]]] = deque()

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._source)

    def prefetch(self, wanted: BatchRequest) -> None:
        """Begin to decode, unless it was begun already."""
        if all(known is not wanted and known != wanted for known, _ in self._waiting):
            self._waiting.append((wanted, self._begin(wanted)))

    def views(self, wanted: BatchRequest) -> tuple[Tensor, ...]:
        """The views, once they are decoded.

        Raises:
            DataError: If a file is missing, changed or not an image.
        """
        self.prefetch(wanted)
        while self._waiting[0][0] != wanted:  # demanded once, and passed over
            _cancel(self._waiting.popleft()[1])
        futures = self._waiting.popleft()[1]
        images = self._on_device([future.result() for future in futures], len(wanted.cuts))
        if self._ranks.world_size > 1:
            images = gathered(images, split_evenly(len(wanted.rows), self._ranks))
        return images.permute(1, 0, 4, 2, 3).contiguous().unbind()

    def blocks(self) -> Generator[Tensor]:
        """All rows in order, the next block being decoded while one is used."""
        alone = PrefetchedImages(
            self._source, self._geometry, self._device, Ranks(), workers=self._workers
        )
        starts = range(0, len(self), _EVAL_IMAGES)
        demands = [
            BatchRequest(tuple(range(start, min(start + _EVAL_IMAGES, len(self)))), (False,), 0, ())
            for start in starts
        ]
        try:
            for number, wanted in enumerate(demands):
                alone.prefetch(wanted)
                if number + 1 < len(demands):
                    alone.prefetch(demands[number + 1])
                yield alone.views(wanted)[0]
        finally:
            alone.close()

    def close(self) -> None:
        """Finish the images being decoded and stop the threads."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _begin(self, wanted: BatchRequest) -> "list[Future[NDArray[np.uint8]]]":
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        sizes = split_evenly(len(wanted.rows), self._ranks)
        first = sum(sizes[: self._ranks.rank])
        rows = wanted.rows[first : first + sizes[self._ranks.rank]]
        return [self._pool.submit(self._decoded, row, wanted) for row in rows]

    def _decoded(self, row: int, wanted: BatchRequest) -> NDArray[np.uint8]:
        """Views of one image, [V, H, W, 3]; the file is read and decoded once for all."""
        seeds = [
            derive_seed(wanted.seed, *wanted.counters, "part", row, view)
            for view in range(len(wanted.cuts))
        ]
        with self._source.opened(row) as image:
            return np.stack(
                [
                    random_part(image, self._geometry, seed, wanted.smallest)
                    if cut
                    else self._geometry(image, row)
                    for cut, seed in zip(wanted.cuts, seeds, strict=True)
                ]
            )

    def _on_device(self, decoded: Sequence[NDArray[np.uint8]], num_views: int) -> Tensor:
        """Views [n, V, H, W, 3] of the images; n may be 0 on a rank without a share."""
        on_gpu = self._device.type == "cuda"
        shape = (len(decoded), num_views, *self._geometry.size, 3)
        # Only from pinned memory does the host go on before the copy's turn has come.
        images = host_memory(shape, torch.uint8, self._device)
        if decoded:
            np.stack(decoded, out=images.numpy())
        return images.to(self._device, non_blocking=on_gpu)


def random_part(
    image: "Image", geometry: Geometry, seed: int, smallest: float = AREA[0]
) -> NDArray[np.uint8]:
    """A random part of an RGB image, stretched to the size, [H, W, 3].

    The part is drawn by the rules of `images.views.crop_box` and smoothed where it shrinks.
    """
    rng = np.random.default_rng(seed)
    top, left, height, width = crop_box(
        image.height,
        image.width,
        rng.uniform,
        lambda stop: int(rng.integers(stop)),
        smallest=smallest,
    )
    part = image.crop((left, top, left + width, top + height))
    return np.asarray(resized(part, geometry.size, geometry.interpolation))


def _cancel(futures: "list[Future[NDArray[np.uint8]]]") -> None:
    for future in futures:
        future.cancel()
