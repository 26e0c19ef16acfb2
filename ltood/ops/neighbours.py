"""Exact nearest neighbours in a bank of training features.

One search serves every method and every k that share a bank and a batch: the searcher
remembers the largest k asked of it and looks for that many. FAISS does the search
on a GPU, a blocked matrix product on the CPU, where it is the quicker of the two, and
wherever FAISS has no GPU. Ties aside, both give the same neighbours.
"""

import importlib.util
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, Features, FitInputs
from ltood.core.errors import ConfigError
from ltood.ops.pairs import QUERY_ROWS, Pairs, Reader, bank_centre, closeness, largest

if TYPE_CHECKING:
    from faiss import StandardGpuResources

#: Most neighbours that FAISS selects on a GPU.
FAISS_GPU_MAX_K = 2048


@dataclass(frozen=True)
class Nearest:
    """Neighbours of a batch in a bank, nearest first.

    Attributes:
        distances: Euclidean distances, [N, K] float32.
        indices: Rows of the bank, [N, K] int64.
    """

    distances: Tensor
    indices: Tensor


class Neighbours(Reader[Nearest]):
    """A bank of rows to search, and the largest k asked of it.

    Attributes:
        bank: Rows to search, [M, D] float32, unit length if `normalise`.
        normalise: Whether queries are divided by their L2 norm first.
        k_max: Neighbours that one search gives.
    """

    def __init__(self, bank: Tensor, *, normalise: bool) -> None:
        """Wrap a bank whose rows are normalised already where `normalise` says so."""
        super().__init__(Pairs(bank, normalise=normalise))
        self.bank = self.pairs.bank
        self.k_max = 1
        self._resources: StandardGpuResources | None = None
        self._centred: Tensor | None = None

    def reserve(self, k: int, where: str) -> None:
        """Make every later search give at least `k` neighbours.

        Args:
            k: Neighbours that a method will read.
            where: The setting's path, such as "methods.knn.k".

        Raises:
            ConfigError: If the bank has fewer rows.
        """
        if k > len(self.bank):
            raise ConfigError(
                f"{where} is {k} but there are only {len(self.bank)} training rows; "
                f"set it to at most {len(self.bank)}."
            )
        self.k_max = max(self.k_max, k)
        if not self._asks_faiss:
            self.pairs.join(self)

    def search(self, batch: FeatureBatch) -> Nearest:
        """The `k_max` nearest neighbours of each row, found once per batch."""
        if self._asks_faiss:
            return batch.once(self.key(), lambda: self._search_faiss(self.pairs.queries(batch)))
        # On a CPU the product finds the same rows in a quarter of the time that FAISS's flat
        # index takes (benchmarks/neighbours.py).
        return self.read(batch)

    def key(self) -> Hashable:
        """Names one search; see `Reader`."""
        return "neighbours", self, self.k_max

    def start(self, batch: FeatureBatch, queries: Features) -> "NearestReading":
        """Begin one search; see `Reader`."""
        del batch
        return NearestReading(queries, self.pairs.centre, self.k_max)

    @property
    def _asks_faiss(self) -> bool:
        return self.bank.is_cuda and self.k_max <= FAISS_GPU_MAX_K and _faiss_has_gpus()

    def distances(self, batch: FeatureBatch, k: int) -> Tensor:
        """Euclidean distance of each row to its k-th neighbour, [N] float32.

        Taken from the two rows themselves, because a search gives squared distances as
        differences of large squares, which leaves few digits for close neighbours.
        """
        indices = self.search(batch).indices[:, k - 1]
        gaps = self.pairs.queries(batch) - self.bank[indices]
        return gaps.square().sum(dim=1).sqrt()

    def _search_faiss(self, queries: Tensor) -> Nearest:
        if not len(queries):
            return search_with_torch(queries, self.bank, self.k_max)
        import faiss
        import faiss.contrib.torch_utils  # Lets FAISS take CUDA tensors.

        if self._resources is None:
            self._resources = faiss.StandardGpuResources()
        if self._centred is None:
            self._centred = self.bank - self.pairs.centre
        queries = (queries - self.pairs.centre).contiguous()
        device = queries.get_device()
        return _nearest(
            *faiss.knn_gpu(self._resources, queries, self._centred, self.k_max, device=device)
        )


class NearestReading:
    """Nearest bank rows of each query, from the blocks of `closeness`."""

    def __init__(self, queries: Tensor, centre: Tensor, k: int) -> None:
        """Begin with none; see `search_with_torch`."""
        self._queries, self._centre = queries, centre
        self._best = queries.new_full((len(queries), k), -math.inf)
        self._rows = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)

    def add(self, rows: slice, columns: slice, closeness: Tensor) -> None:
        """See `Reading`."""
        k = self._best.shape[1]
        values, found = largest(closeness, k)
        values = torch.cat([self._best[rows], values], dim=1)
        found = torch.cat([self._rows[rows], found + columns.start], dim=1)
        self._best[rows], chosen = values.topk(k, dim=1)
        self._rows[rows] = found.gather(1, chosen)

    def result(self) -> Nearest:
        """Neighbours, nearest first."""
        own = [
            (block - self._centre).square().sum(dim=1)
            for block in torch.split(self._queries, QUERY_ROWS)
        ]
        squared = torch.cat(own)[:, None] - 2 * self._best if own else self._best
        return _nearest(squared, self._rows)


def _faiss_has_gpus() -> bool:
    if importlib.util.find_spec("faiss") is None:
        return False
    import faiss

    return int(faiss.get_num_gpus()) > 0


def search_with_faiss(queries: Tensor, bank: Tensor, k: int) -> Nearest:
    """Exact search by FAISS's flat index on the CPU; see `search_with_torch`."""
    import faiss

    squared, indices = faiss.knn(queries.contiguous().numpy(), bank.numpy(), k)
    return _nearest(torch.from_numpy(squared), torch.from_numpy(indices))


def search_with_torch(
    queries: Tensor, bank: Tensor, k: int, centre: Tensor | None = None
) -> Nearest:
    """Exact search by matrix products, block by block.

    Args:
        queries: [N, D] float32.
        bank: [M, D] float32, M at least `k`.
        k: Neighbours of each row.
        centre: Mean of the bank, [D] float32; computed where not given.
    """
    centre = bank_centre(bank) if centre is None else centre
    reading = NearestReading(queries, centre, k)
    for block in closeness(queries, bank, centre):
        reading.add(*block)
    return reading.result()


def _nearest(squared: Tensor, indices: Tensor) -> Nearest:
    return Nearest(squared.clamp(min=0).sqrt(), indices)


def training_neighbours(inputs: FitInputs, *, normalise: bool) -> Neighbours:
    """Searcher over all training features, built once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide bank and queries by their L2 norms.

    Raises:
        MissingNeedError: If there are no training rows.
    """
    source = inputs.require_train()

    def compute() -> Neighbours:
        bank = None
        done = 0
        for batch in source.batches(arrays=("features",)):
            features = batch.features
            if bank is None:
                bank = features.new_empty((len(source), source.dim))
            bank[done : done + len(batch)] = normalize(features, dim=1) if normalise else features
            done += len(batch)
        if bank is None:
            bank = torch.empty((0, source.dim))
        return Neighbours(bank, normalise=normalise)

    return inputs.once(("neighbours", normalise), compute)
