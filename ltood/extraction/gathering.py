"""Rows of batches, gathered on the host until a chunk of the store is whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: First row, and the row after the last.
Range = tuple[int, int]


@dataclass(frozen=True)
class Chunk:
    """Arrays of one chunk on the host, which may still be on their way from a GPU.

    Attributes:
        start: The first row.
        stop: The row after the last.
        tensors: Arrays by name.
        arrived: Passed once all rows are there; None where they are.
    """

    start: int
    stop: int
    tensors: "Mapping[str, torch.Tensor]"
    arrived: "torch.cuda.Event | None" = None

    @property
    def num_bytes(self) -> int:
        """Memory that the arrays take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays, as soon as they are there."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}


class Gathering:
    """Chunks that consecutive batches make; of a GPU's batches nothing waits for the copies."""

    def __init__(self, ranges: Sequence[Range], device: "torch.device") -> None:
        """Take the row ranges of the wanted chunks, and the device of the batches."""
        self._ranges = sorted(ranges)
        self._device = device
        self._held: dict[str, torch.Tensor] = {}

    def add(self, first: int, arrays: "Mapping[str, torch.Tensor]") -> Iterator[Chunk]:
        """Take the next batch, which starts at row `first`.

        Yields:
            Each chunk that is whole now.
        """
        stop = first + len(next(iter(arrays.values())))
        while self._ranges and self._ranges[0][0] < stop:
            begin, end = self._ranges[0]
            self._copy(begin, end, first, arrays)
            if end > stop:
                return
            self._ranges.pop(0)
            held, self._held = self._held, {}
            yield Chunk(begin, end, held, self._mark())

    def _copy(self, begin: int, end: int, first: int, arrays: "Mapping[str, torch.Tensor]") -> None:
        """Put the rows of a batch that a chunk holds into its place on the host."""
        from ltood.runtime.devices import host_memory

        for name, values in arrays.items():
            if name not in self._held:
                shape = (end - begin, *values.shape[1:])
                self._held[name] = host_memory(shape, values.dtype, self._device)
            rows = values[max(begin - first, 0) : end - first]
            place = max(first - begin, 0)
            self._held[name][place : place + len(rows)].copy_(rows, non_blocking=True)

    def _mark(self) -> "torch.cuda.Event | None":
        """What passes once all copies asked for so far are done."""
        if self._device.type != "cuda":
            return None
        import torch

        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return event
