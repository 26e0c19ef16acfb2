"""Exact nearest neighbours in a bank of training features.

FAISS does the search on a GPU, a blocked matrix product elsewhere, which methods share. Which
of the two is quicker on a CPU is a matter of the BLAS that each brings along: see
benchmarks/neighbours.py. Ties aside, both give the same neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.ops.graphs import is_written
from ltood.ops.pairs import (
    QUERY_ROWS,
    Accumulator,
    Consumer,
    Queries,
    SimilarityBank,
    bank_centre,
    largest,
    similarities,
)
from ltood.ops.shared_banks import SharedBank
from ltood.runtime.extras import is_there

if TYPE_CHECKING:
    from faiss import StandardGpuResources

#: Most neighbours that FAISS selects on a GPU.
FAISS_GPU_MAX_K = 2048

#: Memory that FAISS holds for its work; by itself it takes 1.5 GiB.
FAISS_GPU_BYTES = 256 * 2**20

#: Values of the bank that it is given at once (512 MiB).
FAISS_BLOCK_VALUES = 2**27


@dataclass(frozen=True)
class Nearest:
    """Neighbours of a batch in a bank, nearest first.

    Attributes:
        distances: Euclidean distances, [N, K] float32.
        indices: Rows of the bank, [N, K] int64.
        last: Distances to the farthest of them, taken from the rows themselves, [N] float32; None
            where one process holds the bank and can take that of any.
    """

    distances: Tensor
    indices: Tensor
    last: Tensor | None = None


class Neighbours(Consumer[Nearest]):
    """Finds the k nearest rows of a bank.

    Attributes:
        bank: Rows to search.
        k: Neighbours of each query.
    """

    def __init__(self, bank: SimilarityBank, k: int, where: str = "k") -> None:
        """Prepare a search.

        Args:
            bank: Rows to search.
            k: Neighbours to find, 1 or more.
            where: The setting's path, such as "methods.knn.k".

        Raises:
            ConfigError: If the bank has fewer than `k` rows.
        """
        total = bank.total
        if k > total:
            remedy = "give training rows"
            if total:
                remedy = f"set it to at most {total}, or search a larger fraction of them"
            raise ConfigError(
                f"{where} is {k} but there are only {total} training rows to search; {remedy}."
            )
        super().__init__(bank)
        self.k = k

    @property
    def asks_faiss(self) -> bool:
        """Whether FAISS searches, which takes products of its own."""
        if self.bank.is_shared:
            return False
        return self.bank.rows.is_cuda and self.k <= FAISS_GPU_MAX_K and _faiss_has_gpus()

    def search(self, batch: FeatureBatch) -> Nearest:
        """The k nearest neighbours of each row, found once per batch."""
        if self.asks_faiss:
            return batch.cached(self, lambda: self._search_faiss(self.bank.prepare(batch)))
        return self.read(batch)

    def start(self, queries: Queries) -> "NearestRows":
        """Begin one search; see `Consumer`."""
        first = self.bank.first if isinstance(self.bank, SharedBank) else 0
        return NearestRows(queries.rows, self.bank.centre, self.k, first)

    def settle(
        self, merged: Accumulator[Nearest] | None, queries: Queries, counts: Sequence[int]
    ) -> None:
        """Measure the distance to the k-th neighbour where that row lies; see `Consumer`."""
        bank, nearest = self.bank, merged
        assert isinstance(bank, SharedBank)
        assert nearest is None or isinstance(nearest, NearestRows)
        seen = bank.crew.joined(lambda: None if nearest is None else (nearest.farthest,))
        assert seen is not None
        places = seen[0] - bank.first
        is_own = (places >= 0) & (places < len(bank))
        distances = queries.rows.new_zeros(len(places))
        gaps = queries.rows[is_own] - bank.rows[places[is_own]]
        distances[is_own] = gaps.square().sum(dim=1).sqrt()
        rows = 0 if nearest is None else len(nearest.farthest)
        parts = bank.crew.swapped(torch.split(distances, list(counts)), rows)
        if nearest is not None:
            nearest.last = torch.stack(parts).sum(dim=0)

    def _written(self, queries: Tensor, k: int) -> Tensor:
        """Bank row of the k-th neighbour, [N] int64, by operations that a graph can hold.

        All of the bank at once: a graph has the bank within it, and a block at a time would only
        make it longer.
        """
        centred = self.bank.rows - self.bank.centre
        halves = centred.square().sum(dim=1) / 2
        similarity = (queries - self.bank.centre) @ centred.T - halves
        return similarity.topk(k, dim=1).indices[:, -1]

    def distances(self, batch: FeatureBatch, k: int | None = None) -> Tensor:
        """Euclidean distance of each row to its k-th neighbour, [N] float32.

        Taken from the two rows themselves, because a search gives squared distances as
        differences of large squares, which leaves few digits for close neighbours.

        Args:
            batch: Rows to measure.
            k: Rank of the neighbour, at most the searcher's k, which is the default.
        """
        rank = k or self.k
        if self.bank.is_shared:
            last = self.search(batch).last
            assert last is not None
            assert rank == self.k
            return last
        queries = self.bank.prepare(batch)
        if is_written():
            indices = self._written(queries, rank)
        else:
            indices = self.search(batch).indices[:, rank - 1]
        gaps = queries - self.bank.rows[indices]
        return gaps.square().sum(dim=1).sqrt()

    def _search_faiss(self, queries: Tensor) -> Nearest:
        if not len(queries):
            return search(queries, self.bank.rows, self.k)
        import faiss
        import faiss.contrib.torch_utils  # Lets FAISS take CUDA tensors.

        bank, centre = self.bank.rows, self.bank.centre
        queries = (queries - centre).contiguous()
        device = queries.get_device()
        best: tuple[Tensor, Tensor] | None = None
        rows = max(1, FAISS_BLOCK_VALUES // bank.shape[1])
        # FAISS takes the stream of the current GPU, whichever it is told to search on.
        with torch.cuda.device(device):
            for start in range(0, len(bank), rows):
                # A part of the bank at a time: all of it less its mean would be a second bank.
                part = bank[start : start + rows] - centre
                most = min(self.k, len(part))
                squared, indices = faiss.knn_gpu(
                    _gpu_resources(device), queries, part, most, device=device
                )
                best = _nearer(best, (squared, indices + start), self.k)
        assert best is not None  # The bank has k rows or more.
        return _nearest(*best)


class NearestRows:
    """Nearest bank rows of each query, from the blocks of `similarities`."""

    def __init__(self, queries: Tensor, centre: Tensor, k: int, first: int = 0) -> None:
        """Begin with none; see `search`.

        Args:
            queries: [N, D] float32.
            centre: Mean of the bank.
            k: Neighbours of each.
            first: Number of the bank row that the blocks count as 0.
        """
        self._queries, self._centre, self._first = queries, centre, first
        self.last: Tensor | None = None
        self._best = queries.new_full((len(queries), k), -math.inf)
        self._rows = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)

    def add(self, rows: slice, columns: slice, similarity: Tensor) -> None:
        """See `Accumulator`."""
        best = self._best[rows]
        k = best.shape[1]
        values, found = largest(similarity, k, best.amin(dim=1), columns.start)
        values = torch.cat([best, values], dim=1)
        found = torch.cat([self._rows[rows], found + (columns.start + self._first)], dim=1)
        # In no order until all blocks are in: sorting takes as long as selecting.
        self._best[rows], chosen = values.topk(k, dim=1, sorted=False)
        self._rows[rows] = found.gather(1, chosen)

    @property
    def farthest(self) -> Tensor:
        """Bank row of the k-th neighbour, [N] int64."""
        return self._rows.gather(1, self._best.argmin(dim=1, keepdim=True))[:, 0]

    def held(self) -> tuple[Tensor, ...]:
        """See `SharedAccumulator`."""
        return self._best, self._rows

    def take(self, parts: Sequence[tuple[Tensor, ...]]) -> None:
        """See `SharedAccumulator`."""
        values, found = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
        self._best, chosen = values.topk(self._best.shape[1], dim=1)
        self._rows = found.gather(1, chosen)

    def result(self) -> Nearest:
        """Neighbours, nearest first."""
        own = [
            (block - self._centre).square().sum(dim=1)
            for block in torch.split(self._queries, QUERY_ROWS)
        ]
        best, order = self._best.sort(dim=1, descending=True)
        squared = torch.cat(own)[:, None] - 2 * best if own else best
        return replace(_nearest(squared, self._rows.gather(1, order)), last=self.last)


@cache
def _gpu_resources(device: int) -> "StandardGpuResources":
    """What FAISS keeps of a GPU's memory, once for all searches of this process on it."""
    import faiss

    del device
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(FAISS_GPU_BYTES)
    return resources


def _faiss_has_gpus() -> bool:
    if not is_there("faiss"):
        return False
    import faiss

    return int(faiss.get_num_gpus()) > 0


def search(queries: Tensor, bank: Tensor, k: int) -> Nearest:
    """Exact search by matrix products, block by block.

    Args:
        queries: [N, D] float32.
        bank: [M, D] float32, M at least `k`.
        k: Neighbours of each row.
    """
    centre = bank_centre(bank)
    nearest = NearestRows(queries, centre, k)
    for block in similarities(queries, bank, centre):
        nearest.add(*block)
    return nearest.result()


def _nearer(
    before: tuple[Tensor, Tensor] | None, found: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """The k nearest of two parts of a bank, as squared distances and rows."""
    if before is None:
        return found
    squared, indices = (torch.cat(pair, dim=1) for pair in zip(before, found, strict=True))
    least, chosen = squared.topk(min(k, squared.shape[1]), dim=1, largest=False)
    return least, indices.gather(1, chosen)


def _nearest(squared: Tensor, indices: Tensor) -> Nearest:
    return Nearest(squared.clamp(min=0).sqrt(), indices)
