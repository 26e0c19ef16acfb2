"""All pairs of query and bank rows, whose products are taken once for all who read them.

Methods that look at every training row spend their time in one matrix product, which is the
same for all of them. Those fitted on the same inputs join the same `Pairs`: whichever is
asked first has the products of a batch taken, block by block, and each block read by all.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ltood.core.batches import FeatureBatch, Features
from ltood.core.errors import LtoodError

#: Query rows and bank rows of one block of products (32 MiB).
QUERY_ROWS = 512
BANK_ROWS = 16384

#: Bank rows that a reader works on at once: few enough for a processor's cache.
PART_ROWS = 4096


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Reading(Protocol[T_co]):
    """What one reader makes of the pairs of one batch."""

    def add(self, rows: slice, columns: slice, closeness: Tensor) -> None:
        """Read one block of what `closeness` yields, and leave it as it is."""

    def result(self) -> T_co:
        """What was read, after the last block."""


class Reader(ABC, Generic[T]):
    """What a method has for reading pairs into a T; joined weakly.

    Attributes:
        pairs: The bank that is read.
    """

    def __init__(self, pairs: "Pairs") -> None:
        """Keep the bank; whoever wants to see the blocks that others ask for joins it."""
        self.pairs = pairs

    def read(self, batch: FeatureBatch) -> T:
        """What it makes of the pairs of `batch`, read once per batch."""
        return self.pairs.read(batch, self)

    def key(self) -> Hashable:
        """Names what a reading results in."""
        return self

    @abstractmethod
    def start(self, batch: FeatureBatch, queries: Features) -> Reading[T]:
        """Begin to read the pairs of a batch.

        Args:
            batch: Rows to score.
            queries: Their features as the bank has them, [N, D] float32.
        """


class Pairs:
    """A bank of rows and the readers of its pairs with query rows.

    Attributes:
        bank: [M, D] float32, unit length (or zero) if `normalise`.
        normalise: Whether queries are divided by their L2 norm first.
    """

    def __init__(self, bank: Tensor, *, normalise: bool) -> None:
        """Wrap a bank whose rows are normalised already where `normalise` says so."""
        self.bank = bank.contiguous()
        self.normalise = normalise
        self._readers: WeakSet[Reader[Any]] = WeakSet()
        self._centre: Tensor | None = None
        self._scratch: Tensor | None = None
        self._squares: Tensor | None = None

    @property
    def centre(self) -> Tensor:
        """Mean of the bank, [D] float32."""
        if self._centre is None:
            self._centre = bank_centre(self.bank)
        return self._centre

    @property
    def squares(self) -> Tensor:
        """Squared lengths of the bank's rows, [M] float32."""
        if self._squares is None:
            parts = torch.split(self.bank, BANK_ROWS)
            self._squares = torch.cat([part.square().sum(dim=1) for part in parts])
        return self._squares

    def join(self, reader: Reader[Any]) -> None:
        """Let a reader see the blocks that others ask for, until nobody else refers to it."""
        self._readers.add(reader)

    def queries(self, batch: FeatureBatch) -> Features:
        """Features of `batch` as the bank has them, [N, D] float32."""
        features = batch.features
        if not self.normalise:
            return features
        return batch.once("unit_features", lambda: normalize(features, dim=1))

    def scratch(self, size: int) -> Tensor:
        """Memory for readers that take turns, [size] float32."""
        if self._scratch is None or len(self._scratch) < size:
            self._scratch = self.bank.new_empty(size)
        return self._scratch[:size]

    def read(self, batch: FeatureBatch, reader: Reader[T]) -> T:
        """What `reader` makes of the pairs of `batch`, read once per batch."""
        self.join(reader)
        results: dict[Hashable, Any] = batch.once(("pairs", self), dict)
        key = reader.key()
        if key not in results:
            # Asked of the batch, which tells whose time it is.
            batch.once(("pairs", self, key), lambda: self._read(batch, reader, results))
        result: T = results[key]
        return result

    def _read(self, batch: FeatureBatch, asking: Reader[Any], results: dict[Hashable, Any]) -> None:
        """Add to `results` what all readers make of the pairs that have not read them yet."""
        queries = self.queries(batch)
        readings = {asking.key(): asking.start(batch, queries)}
        for reader in self._readers:
            if reader.key() in results or reader.key() in readings:
                continue
            # One that lacks an array of this batch will say so when it is asked itself.
            with suppress(LtoodError):
                readings[reader.key()] = reader.start(batch, queries)
        for block in closeness(queries, self.bank, self.centre):
            for reading in readings.values():
                reading.add(*block)
        results.update({key: reading.result() for key, reading in readings.items()})


class Cosines:
    """Inner products of one batch with a bank, from blocks of `closeness`."""

    def __init__(self, pairs: Pairs, queries: Features) -> None:
        """Prepare what turns closeness into products; see `Pairs.queries`."""
        centre = pairs.centre
        # With a, b and m for query, bank row and centre, a b = closeness + a m + (b^2 - m^2) / 2.
        self._pairs, self._own = pairs, (queries @ centre)[:, None]
        self._others = (pairs.squares - centre.square().sum()) / 2

    def parts(
        self, rows: slice, columns: slice, closeness: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield bank rows and their products with the queries of one block, part by part.

        Args:
            rows: Query rows of the block.
            columns: Bank rows of the block.
            closeness: The block.

        Yields:
            Bank rows, and products that may be changed until the next ones come, [Q, M'] float32.
        """
        start = columns.start
        for few in torch.split(closeness, PART_ROWS, dim=1):
            part = slice(start, start + few.shape[1])
            products = self._pairs.scratch(few.numel()).view(few.shape)
            yield part, torch.add(few, self._own[rows], out=products).add_(self._others[part])
            start = part.stop


def closeness(
    queries: Tensor, bank: Tensor, centre: Tensor
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield how close the rows of all pairs are, block by block, in memory that is used again.

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
        Query rows, bank rows, and their closeness, [Q, M'] float32; higher means closer.
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
            torch.mm(block, part.T, out=found)
            rows, columns = slice(first, first + len(block)), slice(start, start + len(part))
            yield rows, columns, found


def bank_centre(bank: Tensor) -> Tensor:
    """Mean of the rows, [D] float32, summed in float64 block by block."""
    total = bank.new_zeros(bank.shape[1], dtype=torch.float64)
    for part in torch.split(bank, BANK_ROWS):
        total += part.sum(dim=0, dtype=torch.float64)
    return (total / max(1, len(bank))).float()


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Few columns that hold the `k` largest of each row, and their numbers.

    The k largest lie in the k groups of columns with the largest maxima, so the costly
    selection sees a fraction of the columns.

    Args:
        values: [Q, M].
        k: Values to find, 1 or more.

    Returns:
        Values and columns, [Q, K] each, K at least min(k, M), in no order.
    """
    width = values.shape[1]
    # M / size maxima and then k size values are selected from: the least of both together.
    size = math.isqrt(width // k)
    if size < 2:
        return values, torch.arange(width, device=values.device).expand(values.shape)
    num_groups = width // size
    grouped = num_groups * size
    # Columns a stride apart make a group, so that maxima are taken of whole vectors.
    maxima = values[:, :grouped].view(-1, size, num_groups).amax(dim=1)
    chosen = maxima.topk(k, dim=1, sorted=False).indices
    strides = torch.arange(0, grouped, num_groups, device=values.device)
    columns = (chosen[:, None, :] + strides[:, None]).flatten(1)
    rest = torch.arange(grouped, width, device=values.device)
    columns = torch.cat([columns, rest.expand(len(values), -1)], dim=1)
    return values.gather(1, columns), columns
