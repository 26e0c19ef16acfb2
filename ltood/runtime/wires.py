"""What processes send one another in stage two, by way of the host, also where GPUs compute."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ltood.core.crew import Part
from ltood.runtime.distributed import LostRankError


class Wire(Protocol):
    """Between processes; all must call the same in the same order. Tensors are of the host."""

    def everyone(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever pickles
        """Small values of all processes, in their order."""

    def to_first(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever pickles
        """The same of any size, on the first process; None on the others."""

    def add(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, the same bits on all."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of all processes, which have one shape, in their order."""

    def swap(self, parts: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
        """Give part i to process i.

        Args:
            parts: One for each process; they differ in their number of rows alone.
            counts: Rows of what each process gives to this one.

        Returns:
            What each process gave to this one.
        """


class Gloo:
    """A wire through the default group of `torch.distributed`."""

    def __init__(self, part: Part) -> None:
        """Take this process among the others."""
        self._part = part

    def everyone(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever pickles
        """See `Wire`."""
        found: list[Any] = [None] * self._part.count
        with _lost_ranks():
            dist.all_gather_object(found, value)
        return found

    def to_first(self, value: Any) -> list[Any] | None:  # noqa: ANN401 - whatever pickles
        """See `Wire`."""
        found: list[Any] | None = [None] * self._part.count if self._part.number == 0 else None
        with _lost_ranks():
            dist.gather_object(value, found, dst=0)
        return found

    def add(self, tensor: Tensor) -> Tensor:
        """See `Wire`; each part is added up once, in a ring, and handed on."""
        total = tensor.clone()
        with _lost_ranks():
            dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """See `Wire`."""
        found = [torch.empty_like(tensor) for _ in range(self._part.count)]
        with _lost_ranks():
            dist.all_gather(found, tensor)
        return found

    def swap(self, parts: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
        """See `Wire`."""
        sent = torch.cat(list(parts))
        found = sent.new_empty((sum(counts), *sent.shape[1:]))
        sizes = [len(part) for part in parts]
        with _lost_ranks():
            dist.all_to_all_single(found, sent, list(counts), sizes)
        return list(torch.split(found, list(counts)))


@contextmanager
def _lost_ranks() -> Iterator[None]:
    """Say in a sentence that another process has ended, where meeting it fails.

    Raises:
        LostRankError: If so.
    """
    try:
        yield
    except RuntimeError:  # Of the connection.
        raise LostRankError.unreachable() from None
