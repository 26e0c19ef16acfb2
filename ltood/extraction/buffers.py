"""Rows of batches, gathered until a chunk of the store is whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: First row, and the row after the last.
Range = tuple[int, int]


class Buffer:
    """Arrays of consecutive batches, cut into the chunks that are wanted."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        """Take the row ranges of the wanted chunks."""
        self._ranges = sorted(ranges)
        self._first = 0
        self._held: list[Mapping[str, torch.Tensor]] = []

    def add(
        self, first: int, arrays: "Mapping[str, torch.Tensor]"
    ) -> Iterator[tuple[int, int, dict[str, NDArray[Any]]]]:
        """Take the next batch, which starts at row `first`.

        Yields:
            First row, row after the last, and arrays of each chunk that is whole now.
        """
        if not self._held:
            self._first = first
        self._held.append(arrays)
        stop = first + len(next(iter(arrays.values())))
        while self._ranges and self._ranges[0][1] <= stop:
            begin, end = self._ranges.pop(0)
            yield begin, end, self._cut(begin, end)
        # A row before the next chunk is not needed any more.
        if not self._ranges or self._ranges[0][0] >= stop:
            self._held.clear()

    def _cut(self, begin: int, end: int) -> dict[str, NDArray[Any]]:
        """Rows of one chunk of all arrays, which leave the device here."""
        import torch

        rows = slice(begin - self._first, end - self._first)
        if len(self._held) > 1:
            self._held = [
                {name: torch.cat([held[name] for held in self._held]) for name in self._held[0]}
            ]
        return {name: values[rows].cpu().numpy() for name, values in self._held[0].items()}
