"""Exact nearest neighbours in a bank of training features.

One search serves every method and every k that share a bank and a batch: the searcher
remembers the largest k asked of it and looks for that many. FAISS does the search
on a GPU, a blocked matrix product on the CPU, where it is the quicker of the two, and
wherever FAISS has no GPU. Ties aside, both give the same neighbours.
"""

import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ltood.core.errors import ConfigError
from ltood.core.types import FeatureBatch, Features, FitInputs

if TYPE_CHECKING:
    from faiss import StandardGpuResources

#: Query rows and bank rows of one block of the torch search (256 MiB of distances).
QUERY_ROWS = 1024
BANK_ROWS = 65536

#: Columns of one group in the torch search.
GROUP_COLUMNS = 16

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


class Neighbours:
    """A bank of rows to search, and the largest k asked of it.

    Attributes:
        bank: Rows to search, [M, D] float32, unit length if `normalise`.
        normalise: Whether queries are divided by their L2 norm first.
        k_max: Neighbours that one search gives.
    """

    def __init__(self, bank: Tensor, *, normalise: bool) -> None:
        """Wrap a bank whose rows are normalised already where `normalise` says so."""
        self.bank = bank.contiguous()
        self.normalise = normalise
        self.k_max = 1
        self._resources: StandardGpuResources | None = None
        self._mean: Tensor | None = None
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

    def search(self, batch: FeatureBatch) -> Nearest:
        """The `k_max` nearest neighbours of each row, found once per batch."""
        return batch.once(
            ("neighbours", self, self.k_max), lambda: self._search(self.queries(batch), self.k_max)
        )

    def queries(self, batch: FeatureBatch) -> Features:
        """Features of `batch` as the search sees them, [N, D] float32."""
        features = batch.features
        return normalize(features, dim=1) if self.normalise else features

    def distances(self, batch: FeatureBatch, k: int) -> Tensor:
        """Euclidean distance of each row to its k-th neighbour, [N] float32.

        Taken from the two rows themselves, because a search gives squared distances as
        differences of large squares, which leaves few digits for close neighbours.
        """
        indices = self.search(batch).indices[:, k - 1]
        gaps = self.queries(batch) - self.bank[indices]
        return gaps.square().sum(dim=1).sqrt()

    def _search(self, queries: Tensor, k: int) -> Nearest:
        queries = queries.contiguous()
        if queries.is_cuda and len(queries) and k <= FAISS_GPU_MAX_K and _faiss_has_gpus():
            import faiss
            import faiss.contrib.torch_utils  # Lets FAISS take CUDA tensors.

            if self._resources is None:
                self._resources = faiss.StandardGpuResources()
            device = queries.get_device()
            if self._centred is None:
                self._centred = self.bank - self._centre()
            queries = queries - self._centre()
            found = faiss.knn_gpu(self._resources, queries, self._centred, k, device=device)
            return _nearest(*found)
        # On a CPU the product below finds the same rows in a third to a half of the time
        # that FAISS's flat index takes (benchmarks/neighbours.py).
        return search_with_torch(queries, self.bank, k, self._centre())

    def _centre(self) -> Tensor:
        if self._mean is None:
            self._mean = bank_centre(self.bank)
        return self._mean


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

    A product gives squared distances as differences of squares. Both sides are moved so
    that the bank's mean is the origin, which changes no distance and keeps the squares,
    and with them what rounding takes, as small as the data allow.

    Args:
        queries: [N, D] float32.
        bank: [M, D] float32, M at least `k`.
        k: Neighbours of each row.
        centre: Mean of the bank, [D] float32; computed where not given.
    """
    if len(queries) == 0:
        nobody = torch.zeros((0, k), dtype=torch.int64, device=queries.device)
        return Nearest(queries.new_zeros((0, k)), nobody)
    centre = bank_centre(bank) if centre is None else centre
    found = []
    for block in torch.split(queries - centre, QUERY_ROWS):
        best = block.new_empty((len(block), 0))
        best_rows = torch.empty((len(block), 0), dtype=torch.int64, device=block.device)
        for start in range(0, len(bank), BANK_ROWS):
            part = bank[start : start + BANK_ROWS] - centre
            # Without the query's own square, which changes no order.
            squared = torch.addmm(part.square().sum(dim=1), block, part.T, alpha=-2)
            candidates, rows = _candidates(squared, k)
            candidates = torch.cat([best, candidates], dim=1)
            best, chosen = candidates.topk(min(k, candidates.shape[1]), dim=1, largest=False)
            best_rows = torch.cat([best_rows, rows + start], dim=1).gather(1, chosen)
        found.append(_nearest(best + block.square().sum(dim=1, keepdim=True), best_rows))
    return Nearest(
        torch.cat([block.distances for block in found]),
        torch.cat([block.indices for block in found]),
    )


def bank_centre(bank: Tensor) -> Tensor:
    """Mean of the rows, [D] float32, summed in float64 block by block."""
    total = bank.new_zeros(bank.shape[1], dtype=torch.float64)
    for part in torch.split(bank, BANK_ROWS):
        total += part.sum(dim=0, dtype=torch.float64)
    return (total / max(1, len(bank))).float()


def _candidates(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Few columns that hold the `k` smallest of each row, and their numbers.

    The k smallest lie in the k groups of neighbouring columns with the smallest minima,
    so the costly selection sees a fraction of the columns.
    """
    missing = -values.shape[1] % GROUP_COLUMNS
    padded = pad(values, (0, missing), value=math.inf)
    groups = padded.reshape(len(values), -1, GROUP_COLUMNS)
    minima = groups.amin(dim=2)
    chosen = minima.topk(min(k, minima.shape[1]), dim=1, largest=False, sorted=False).indices
    columns = chosen[:, :, None] * GROUP_COLUMNS + torch.arange(GROUP_COLUMNS, device=values.device)
    kept = groups.gather(1, chosen[:, :, None].expand(-1, -1, GROUP_COLUMNS))
    return kept.flatten(1), columns.flatten(1)


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
