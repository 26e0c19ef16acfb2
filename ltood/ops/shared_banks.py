"""Banks of training rows of which every process holds a part.

A batch is read in step: all processes exchange the rows that they are about to score, each sees
all of these past its own part of the bank, and what it finds goes to the process that scores the
row. So no process holds the whole bank, and together they take each product once.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch
from ltood.core.crew import Crew
from ltood.core.errors import ConfigError
from ltood.ops.pairs import (
    Accumulator,
    Consumer,
    PairMethod,
    Queries,
    SimilarityBank,
    bank_sum,
    similarities,
)

T_co = TypeVar("T_co", covariant=True)


class SharedBank(SimilarityBank):
    """This process's rows of a bank.

    Attributes:
        crew: All who hold it.
        first: Number of the first of these rows in the whole bank.
    """

    is_shared = True

    def __init__(self, rows: Tensor, *, normalise: bool, crew: Crew) -> None:
        """Wrap this process's rows; all processes must call it.

        Args:
            rows: They, unit vectors already if `normalise`; perhaps none.
            normalise: As for any bank.
            crew: All who hold it.
        """
        super().__init__(rows, normalise=normalise)
        counts = crew.told(len(rows))
        self.crew, self.first, self._total = crew, sum(counts[: crew.part.number]), sum(counts)
        self._mean = (crew.total(lambda: bank_sum(rows)) / max(1, self._total)).float()
        self.rows = self.rows.to(self._mean.device)  # None may not know where others compute.

    def __getstate__(self) -> dict[str, Any]:
        """Refuse copies and pickles, which would lack the rows of the others."""
        raise ConfigError("a part of a bank cannot be saved; fit the method with one process.")

    @property
    def total(self) -> int:
        """Number of rows of all processes."""
        return self._total

    @cached_property
    def centre(self) -> Tensor:
        """Mean of the rows of all processes, [D] float32."""
        return self._mean


class SharedAccumulator(Accumulator[T_co], Protocol[T_co]):
    """An accumulator whose parts merge."""

    def held(self) -> tuple[Tensor, ...]:
        """What a part of the bank gives, [N, ...] each."""

    def take(self, parts: Sequence[tuple[Tensor, ...]]) -> None:
        """Go on from what all parts of the bank give, in the order of their rows."""


def shared_consumers(methods: Iterable[object]) -> list[Consumer[Any]]:
    """Consumers of fitted methods that compare with a bank of which others hold parts."""
    found = [method.consumer() for method in methods if isinstance(method, PairMethod)]
    return [one for one in found if one is not None and one.bank.is_shared]


def read_shared(consumers: Iterable[Consumer[Any]], batch: FeatureBatch | None) -> None:
    """Read a batch for consumers of shared banks, in step with all other processes.

    Args:
        consumers: Those of methods that all processes have fitted, in the same order.
        batch: Rows to score, which then know the results; None where this process has no more.

    Raises:
        LtoodError: If it fails, for this process or another.
    """
    groups: dict[SharedBank, list[Consumer[Any]]] = {}
    for consumer in consumers:
        assert isinstance(consumer.bank, SharedBank)
        groups.setdefault(consumer.bank, []).append(consumer)
    for bank, group in groups.items():
        bank.crew.agreed(partial(_read, bank, group, batch))


def _read(bank: SharedBank, group: Sequence[Consumer[Any]], batch: FeatureBatch | None) -> None:
    crew, rows = bank.crew, 0 if batch is None else len(batch)
    own = None if batch is None else Queries(batch, bank)
    reads = sorted({name for consumer in group for name in consumer.reads})
    counts = crew.told(rows)

    def brought() -> tuple[Tensor, ...] | None:
        if own is None:
            return None
        return (own.rows, *(own.batch.column(name).float() for name in reads))

    seen = crew.joined(brought)
    if seen is None:
        return
    arrays = dict(zip(("features", *reads), seen, strict=True))
    queries = Queries(FeatureBatch(arrays), bank, seen[0])
    found = _past(queries, bank, group)
    for consumer, accumulator in zip(group, found, strict=True):
        held = [crew.swapped(torch.split(part, counts), rows) for part in accumulator.held()]
        merged = None if own is None else consumer.start(own)
        if merged is not None:
            merged.take(list(zip(*held, strict=True)))  # type: ignore[attr-defined]
        consumer.settle(merged, queries, counts)
        if batch is not None and merged is not None:
            batch.cached(consumer, merged.result)


def _past(
    queries: Queries, bank: SharedBank, group: Sequence[Consumer[Any]]
) -> list[SharedAccumulator[Any]]:
    """What all rows of a step find in this process's part of the bank."""
    accumulators: list[Any] = [consumer.start(queries) for consumer in group]
    for block in similarities(queries.rows, bank.rows, bank.centre):
        for accumulator in accumulators:
            accumulator.add(*block)
    return accumulators
