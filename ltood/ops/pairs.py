"""Similarities of all pairs of query and bank rows, taken once for all who need them.

Methods that look at every training row spend their time in one matrix product, which is the
same for all of them. What each makes of the products is a `Consumer`. A method alone reads
alone; who scores with several methods calls `read_together` first, which takes the products
of a batch once, block by block, and hands each block to all.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ltood.core.batches import FeatureBatch, Features
from ltood.core.entry import C
from ltood.core.errors import LtoodError
from ltood.core.slots import ManyScores, Method
from ltood.ops.graphs import is_written
from ltood.ops.lengths import unit

#: Query rows and bank rows of one block of products (32 MiB).
QUERY_ROWS = 512
BANK_ROWS = 16384

#: Bank rows that a consumer works on at once: few enough for a processor's cache.
PART_ROWS = 4096

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SimilarityBank:
    """Rows that queries are compared with.

    Attributes:
        rows: [M, D] float32, unit length (or zero) if `normalise`.
        normalise: Whether queries are divided by their L2 norm first.
        is_shared: Whether other processes hold more rows; see `ops/shared_banks.py`.
    """

    is_shared = False

    def __init__(self, rows: Tensor, *, normalise: bool) -> None:
        """Wrap rows; with `normalise` they must be unit vectors already."""
        self.rows = rows.contiguous()
        self.normalise = normalise

    def __len__(self) -> int:
        """Number of rows M."""
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        """State for copies and pickles, without values that can be recomputed."""
        return {"rows": self.rows, "normalise": self.normalise}

    @property
    def total(self) -> int:
        """Number of rows that are searched, with those of other processes."""
        return len(self)

    @cached_property
    def centre(self) -> Tensor:
        """Mean of the rows, [D] float32."""
        return bank_centre(self.rows)

    @cached_property
    def squares(self) -> Tensor:
        """Squared lengths of the rows, [M] float32."""
        parts = torch.split(self.rows, BANK_ROWS)
        return torch.cat([part.square().sum(dim=1) for part in parts])

    def prepare(self, batch: FeatureBatch) -> Features:
        """Features of `batch` as the bank has its rows, [N, D] float32."""
        features = batch.features
        if not self.normalise:
            return features
        return batch.cached("unit_features", lambda: unit(features))


class Queries:
    """Rows of one batch on their way past a bank.

    Attributes:
        batch: The batch, for what a consumer needs beyond the features.
        rows: Its features as the bank has its rows, [N, D] float32.
        bank: The bank.
    """

    def __init__(
        self, batch: FeatureBatch, bank: SimilarityBank, rows: Features | None = None
    ) -> None:
        """Prepare the features of `batch`, or take them as `rows` where they are prepared."""
        self.batch, self.bank = batch, bank
        self.rows = bank.prepare(batch) if rows is None else rows
        self._scratch = self.rows.new_empty(0)

    def scratch(self, size: int) -> Tensor:
        """Memory for consumers that take turns, [size] float32."""
        if len(self._scratch) < size:
            self._scratch = self.rows.new_empty(size)
        return self._scratch[:size]


class Accumulator(Protocol[T_co]):
    """Accumulates a result over the blocks of similarities of one batch."""

    def add(self, rows: slice, columns: slice, similarity: Tensor) -> None:
        """Take one block of what `similarities` yields, and leave it unchanged."""

    def result(self) -> T_co:
        """The accumulated result, after the last block."""


class Consumer(ABC, Generic[T]):
    """Computes a T for each batch from its similarities to a bank.

    Attributes:
        bank: The bank it reads.
        reads: Arrays of a batch that it reads beside the features.
    """

    reads: tuple[str, ...] = ()

    def __init__(self, bank: SimilarityBank) -> None:
        """Keep the bank; consumers of the same object can share its products."""
        self.bank = bank

    @abstractmethod
    def start(self, queries: Queries) -> Accumulator[T]:
        """Begin to read the similarities of a batch."""

    def settle(
        self, merged: Accumulator[T] | None, queries: Queries, counts: Sequence[int]
    ) -> None:
        """Exchange what is left once the parts of a shared bank have been merged; nothing here.

        Args:
            merged: Accumulator of this process's rows; None where it has none.
            queries: Rows of all processes.
            counts: Rows of each process.
        """
        del merged, queries, counts

    def read(self, batch: FeatureBatch) -> T:
        """The result for `batch`: what `read_all` left there, else computed for this one alone."""

        def compute() -> T:
            if self.bank.is_shared:
                raise LtoodError(
                    "rows cannot be compared with a part of the bank alone; reading them together "
                    "has failed, or was left out."
                )
            (result,) = _read(batch, self.bank, [self])
            alone: T = result
            return alone

        return batch.cached(self, compute)


class PairMethod(Method[C]):
    """A method whose score rests on one consumer, which `fit` makes."""

    _consumer: Consumer[Any] | None = None

    @abstractmethod
    def consumer(self) -> Consumer[Any] | None:
        """Consumer of similarities of the fitted method; None if it computes them by itself."""

    def _forget(self) -> None:
        """See `Entry._forget`; the next `consumer` is made of what is learned then."""
        super()._forget()
        self._consumer = None

    @classmethod
    def score_many(cls, detectors: Sequence[Any], batch: FeatureBatch) -> ManyScores:
        """Scores of many settings, [S, N]; products with the bank are taken once."""
        read_together(detectors, batch)
        return super().score_many(detectors, batch)


def read_together(methods: Iterable[object], batch: FeatureBatch) -> None:
    """Read a batch for all fitted methods that compare it with a bank, in one pass per bank.

    Their next `score` of this batch finds its result ready.

    Args:
        methods: Fitted methods of any kind.
        batch: Rows to score.
    """
    found = [method.consumer() for method in methods if isinstance(method, PairMethod)]
    read_all(batch, [consumer for consumer in found if consumer is not None])


def read_all(batch: FeatureBatch, consumers: Iterable[Consumer[Any]]) -> None:
    """Leave the result of every consumer in `batch`; see `read_together`."""
    if is_written():  # Each for itself: a search for neighbours has another way then.
        return
    groups: dict[SimilarityBank, list[Consumer[Any]]] = {}
    for consumer in consumers:
        if not (batch.knows(consumer) or consumer.bank.is_shared):
            groups.setdefault(consumer.bank, []).append(consumer)
    for bank, group in groups.items():
        _leave(batch, bank, tuple(group))


def _leave(batch: FeatureBatch, bank: SimilarityBank, group: tuple[Consumer[Any], ...]) -> None:
    results = batch.cached(group, lambda: _read(batch, bank, group))
    for place, consumer in enumerate(group):
        batch.cached(consumer, partial(results.__getitem__, place))


def _read(
    batch: FeatureBatch, bank: SimilarityBank, consumers: Sequence[Consumer[Any]]
) -> list[Any]:
    queries = Queries(batch, bank)
    accumulators = [consumer.start(queries) for consumer in consumers]
    for block in similarities(queries.rows, bank.rows, bank.centre):
        for accumulator in accumulators:
            accumulator.add(*block)
    return [accumulator.result() for accumulator in accumulators]


class Cosines:
    """Inner products of one batch with a bank, from blocks of `similarities`."""

    def __init__(self, queries: Queries) -> None:
        """Prepare what turns similarities into products."""
        centre = queries.bank.centre
        # With a, b and m for query, bank row and centre, a b = similarity + a m + (b^2 - m^2) / 2.
        self._queries, self._own = queries, (queries.rows @ centre)[:, None]
        self._others = (queries.bank.squares - centre.square().sum()) / 2

    def parts(
        self, rows: slice, columns: slice, similarity: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield bank rows and their products with the queries of one block, part by part.

        Args:
            rows: Query rows of the block.
            columns: Bank rows of the block.
            similarity: The block.

        Yields:
            Bank rows, and products that may be changed until the next ones come, [Q, M'] float32.
        """
        start = columns.start
        for few in torch.split(similarity, PART_ROWS, dim=1):
            part = slice(start, start + few.shape[1])
            if is_written():
                yield part, few + self._own[rows] + self._others[part]
            else:
                products = self._queries.scratch(few.numel()).view(few.shape)
                yield part, torch.add(few, self._own[rows], out=products).add_(self._others[part])
            start = part.stop


def similarities(
    queries: Tensor, bank: Tensor, centre: Tensor
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield how similar the rows of all pairs are, block by block, in memory that is used again.

    Half of what the squared distance of a pair lacks to the squared length of its query: the
    inner product less half the squared length of the bank row. A product gives squared
    distances as differences of squares; both sides are moved so that the bank's mean is the
    origin, which changes no distance and keeps the squares, and with them what rounding takes,
    as small as the data allow.

    Args:
        queries: [N, D] float32.
        bank: [M, D] float32.
        centre: Mean of the bank, [D] float32.

    Yields:
        Query rows, bank rows, and their similarity, [Q, M'] float32; higher means closer.
    """
    columns_at_once = min(BANK_ROWS, len(bank))
    space = queries.new_empty(min(QUERY_ROWS, len(queries)) * columns_at_once)
    # One more column has the product subtract the squares.
    centred = bank.new_empty((columns_at_once, bank.shape[1] + 1))
    for start in range(0, len(bank), BANK_ROWS):
        part = centred[: min(BANK_ROWS, len(bank) - start)]
        torch.sub(bank[start : start + len(part)], centre, out=part[:, :-1])
        part[:, -1] = torch.linalg.vector_norm(part[:, :-1], dim=1).square() / -2
        for first in range(0, len(queries), QUERY_ROWS):
            block = pad(queries[first : first + QUERY_ROWS] - centre, (0, 1), value=1)
            found = space[: len(block) * len(part)].view(len(block), len(part))
            if is_written():
                found = block @ part.T
            else:
                torch.mm(block, part.T, out=found)
            rows, columns = slice(first, first + len(block)), slice(start, start + len(part))
            yield rows, columns, found


def bank_centre(bank: Tensor) -> Tensor:
    """Mean of the rows, [D] float32, summed in float64 block by block."""
    return (bank_sum(bank) / max(1, len(bank))).float()


def bank_sum(bank: Tensor) -> Tensor:
    """Sum of the rows, [D] float64, block by block."""
    total = bank.new_zeros(bank.shape[1], dtype=torch.float64)
    for part in torch.split(bank, BANK_ROWS):
        total += part.sum(dim=0, dtype=torch.float64)
    return total


def largest(
    values: Tensor, k: int, above: Tensor | None = None, seen: int = 0
) -> tuple[Tensor, Tensor]:
    """Few columns that hold the `k` largest of each row, and their numbers.

    The k largest lie in the k groups of columns with the largest maxima, so the costly
    selection sees a fraction of the columns.

    Args:
        values: [Q, M].
        k: Values to find, 1 or more.
        above: What of each row is at most this, [Q], need not be found; earlier columns hold k
            values that are no less.
        seen: Number of these earlier columns.

    Returns:
        Values and columns, [Q, K] each, in no order; K at least min(k, M) without `above`.
    """
    width = values.shape[1]
    # Of the k largest so far, as many as their share of the columns lie among these, give or take.
    expected = -(-k * width // (seen + width)) if above is not None else k
    # M / size maxima and then k size values are selected from: the least of both together.
    size = math.isqrt(width // expected)
    if size < 2:
        return values, torch.arange(width, device=values.device).expand(values.shape)
    num_groups = width // size
    grouped = num_groups * size
    # Columns a stride apart make a group, so that maxima are taken of whole vectors.
    maxima = values[:, :grouped].view(-1, size, num_groups).amax(dim=1)
    wanted = min(k, num_groups)
    # A GPU would have the host wait for this number.
    if above is not None and len(values) and not values.is_cuda:
        wanted = min(wanted, int((maxima > above[:, None]).sum(dim=1).max()))
    chosen = maxima.topk(wanted, dim=1, sorted=False).indices
    strides = torch.arange(0, grouped, num_groups, device=values.device)
    columns = (chosen[:, None, :] + strides[:, None]).flatten(1)
    rest = torch.arange(grouped, width, device=values.device)
    columns = torch.cat([columns, rest.expand(len(values), -1)], dim=1)
    return values.gather(1, columns), columns
