"""Pixels of batches, decoded ahead of the network by threads and copied ahead to a GPU."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from ltood.extraction.gathering import Range
from ltood.extraction.parts import Part
from ltood.images.decoding import decoding_threads

if TYPE_CHECKING:
    import torch

    Blocks = Generator[torch.Tensor, None, None]

#: Batches that are decoded or being decoded while the network has one.
AHEAD = 3
#: Batches that a GPU has been given and not finished.
ON_DEVICE = 2
#: Image files that a thread decodes in a row.
_FILES = 4


def load_ahead(parts: Iterable[Part], device: "torch.device") -> "Blocks":
    """Pixels of all batches of some parts in order, [n, ...] uint8 on the host.

    Threads live until the last batch, or until the iterator is closed. The memory is page-locked
    where the device is a GPU.

    Raises:
        DataError: If a file is missing, changed or not an image; the first one in order.
    """
    waiting: deque[tuple[torch.Tensor, list[Future[None]]]] = deque()

    def next_block() -> "torch.Tensor":
        pixels, tasks = waiting.popleft()
        for task in tasks:
            task.result()
        return pixels

    pool = ThreadPoolExecutor(decoding_threads(), "decode")
    try:
        for part in parts:
            for batch in part.batches():
                waiting.append(_begin(pool, part, batch, device))
                if len(waiting) > AHEAD:
                    yield next_block()
        while waiting:
            yield next_block()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor, part: Part, batch: Range, device: "torch.device"
) -> "tuple[torch.Tensor, list[Future[None]]]":
    """Memory for the pixels of a batch, and the tasks that fill it."""
    import torch

    from ltood.runtime.devices import host_memory

    first, rows = batch[0], batch[1] - batch[0]
    pixels = host_memory((rows, *part.image_shape), torch.uint8, device)
    array, step = pixels.numpy(), rows if part.transform is None else _FILES
    places = range(0, rows, step)
    return pixels, [
        pool.submit(part.fill, array[place : place + step], first + place) for place in places
    ]


def on_device(blocks: "Iterator[torch.Tensor]", device: "torch.device") -> "Blocks":
    """The same on the device; a GPU takes each block while it computes with the one before.

    The host waits only for the batch that began `ON_DEVICE` batches ago, so that memory is bounded.
    """
    if device.type != "cuda":
        yield from blocks
        return
    import torch

    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    # A block may go only when the network, which works in another stream, has read it.
    busy: deque[tuple[torch.cuda.Event, torch.Tensor, torch.Tensor]] = deque()
    for block in blocks:
        if len(busy) >= ON_DEVICE:
            busy.popleft()[0].synchronize()
        with torch.cuda.stream(copies):
            pixels = block.to(device, non_blocking=True)
        torch.cuda.current_stream(device).wait_stream(copies)
        yield pixels
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        busy.append((done, pixels, block))
    for done, _, _ in busy:
        done.synchronize()
