"""Processes that share the rows which stage two reads, and how what each has seen is merged.

Who learns or scores alone has a crew of one, which reads all rows and sends nothing. How several
processes meet is known to `ltood.runtime.crew`; an entry only says what it reads and what it adds
up.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource

T = TypeVar("T")

#: What one process has made of its rows; None where it has none.
Seen = tuple[Tensor, ...] | None


@dataclass(frozen=True)
class Part:
    """Which of the batches of a source a process reads: all of its parts hold every batch once.

    Attributes:
        number: Number of the process, from 0.
        count: Number of processes.
    """

    number: int = 0
    count: int = 1

    def bounds(self, total: int, step: int) -> tuple[int, int]:
        """First row, and row behind the last, of what batches of `step` rows leave this part.

        Args:
            total: Rows of the source.
            step: Rows of a batch; the last one may have fewer.
        """
        first, end = (-(-total * number // self.count) for number in (self.number, self.number + 1))
        return min(total, -(-first // step) * step), min(total, -(-end // step) * step)

    def cut(self, batch: FeatureBatch, start: int, total: int) -> FeatureBatch | None:
        """The rows of this part in a batch that begins at row `start` of `total`, if any."""
        return batch if start * self.count // total == self.number else None


@dataclass(frozen=True)
class Span(Part):
    """Rows `first` to `end`, wherever batches are cut.

    Attributes:
        first: First row.
        end: Row behind the last.
    """

    first: int = 0
    end: int = 0

    def bounds(self, total: int, step: int) -> tuple[int, int]:
        """The rows themselves."""
        del total, step
        return self.first, self.end

    def cut(self, batch: FeatureBatch, start: int, total: int) -> FeatureBatch | None:
        """The rows of a batch that lie between."""
        del total
        low, high = max(self.first - start, 0), min(self.end - start, len(batch))
        if (low, high) == (0, len(batch)):
            return batch
        return batch.slice(low, high) if low < high else None


@runtime_checkable
class PartedSource(Protocol):
    """A source that can leave out the batches of other parts without reading them."""

    def numbered(
        self, part: Part, rows: int, arrays: Sequence[str]
    ) -> Iterator[tuple[int, FeatureBatch]]:
        """Yield the batches of a part as `batches` gives them, each with its first row."""


def numbered_batches(
    source: FeatureSource, part: Part, arrays: Sequence[str], rows: int = BATCH_ROWS
) -> Iterator[tuple[int, FeatureBatch]]:
    """Yield the batches of a part, each with the number of its first row.

    Batches are cut where they are with one process, so that the same rows meet in products.

    Args:
        source: Rows.
        part: Which of them.
        arrays: What the batches hold.
        rows: Most rows of a batch.
    """
    if isinstance(source, PartedSource):
        yield from source.numbered(part, rows, arrays)
        return
    yield from cut_batches(source.batches(rows, arrays), part, len(source))


def cut_batches(
    batches: Iterable[FeatureBatch], part: Part, total: int
) -> Iterator[tuple[int, FeatureBatch]]:
    """Yield those of all batches of a source that are of a part, each with its first row.

    Args:
        batches: All batches in order.
        part: Which to yield.
        total: Rows of all.
    """
    start = 0
    for batch in batches:
        own = part.cut(batch, start, total)
        if own is not None:
            yield start, own
        start += len(batch)


class Crew:
    """Processes that share the rows; this one stands alone, so that all is its own.

    All processes must call the same in the same order: what one process does alone must ask for
    nothing of this.

    Attributes:
        part: Which rows this process reads.
        shares_banks: Whether each holds a part of a bank of training rows.
    """

    part = Part()
    shares_banks = False

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.part.count == 1

    def batches(self, source: FeatureSource, arrays: Sequence[str]) -> Iterator[FeatureBatch]:
        """Yield the rows of a source that are this process's, holding only `arrays`."""
        if self.is_alone:
            yield from source.batches(arrays=arrays)
            return
        for _, batch in numbered_batches(source, self.part, arrays):
            yield batch

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and evaluates."""
        return self.part.number == 0

    def agreed(self, work: Callable[[], T]) -> T:
        """Do some work in which processes may meet; where it fails for one, it does for all."""
        return work()

    def summed(self, make: Callable[[], Seen]) -> Seen:
        """Sums over all processes of what each has made of its rows, the same bits for all.

        Args:
            make: Gives tensors of the same shapes and types on every process, or None where it has
                no row.

        Returns:
            None where none has a row.
        """
        return make()

    def total(self, make: Callable[[], Tensor]) -> Tensor:
        """The sum of one tensor that every process makes, zero where it has no row."""
        seen = self.summed(lambda: (make(),))
        assert seen is not None
        return seen[0]

    def joined(self, make: Callable[[], Seen]) -> Seen:
        """What each has made of its rows, one behind the other in the order of the rows.

        Args:
            make: As `summed` takes it; the tensors may differ in their number of rows.
        """
        return make()

    def on_first(self, make: Callable[[], T]) -> T:
        """The plain value that `make` gives on the first process, where alone it is called."""
        return make()

    def in_step(self, items: Iterable[T]) -> Iterator[T | None]:
        """Yield the items of this process, and None from then on until all others have no more."""
        yield from items

    def swapped(self, parts: Sequence[Tensor], rows: int) -> list[Tensor]:
        """What each process has made for this one.

        Args:
            parts: What this one has made for each; they differ in their number of rows alone.
            rows: Rows that each gives to this one.
        """
        del rows
        return list(parts)

    def told(self, brings: T) -> list[T]:
        """What each process brings, in their order; small plain values."""
        return [brings]

    def collected(self, items: Iterable[T]) -> Iterator[T]:
        """Yield on the first process what all make of their rows, in the order of the rows.

        Args:
            items: What this process makes.
        """
        yield from items


#: The crew of a process that shares nothing.
ALONE = Crew()
