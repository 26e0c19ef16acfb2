"""Nearest neighbours in the lists of a bank that lie closest to a query: fewer products, most hits.

The rows of a bank are divided among lists by their nearest centroid, as in Sivic and Zisserman,
"Video Google", ICCV 2003; a query is compared with the rows of few lists alone. What it finds is
approximate: a neighbour in another list is missed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.ops.neighbours import search
from ltood.ops.pairs import BANK_ROWS, bank_centre

#: Rows of each list that its centroid is learned from, and rounds of learning.
ROWS_PER_LIST = 64
ROUNDS = 10

#: Rows of a bank that a recall is measured with.
RECALL_ROWS = 256


@dataclass(frozen=True)
class InvertedLists:
    """A bank whose rows lie list by list.

    Attributes:
        rows: [M, D] float32, those of the first list first.
        centroids: Middle of each list, [L, D] float32.
        ends: Row behind the last one of each list, [L] int64, ascending.
    """

    rows: Tensor
    centroids: Tensor
    ends: Tensor

    @classmethod
    def of(cls, rows: Tensor, lists: int, seed: int) -> "InvertedLists":
        """Divide the rows of a bank, [M, D] float32, among at most `lists` lists.

        The same rows and seed give the same lists.
        """
        lists = max(1, min(lists, len(rows)))
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(rows), generator=generator)[: ROWS_PER_LIST * lists]
        sample = rows[drawn.to(rows.device)]
        centroids = sample[:lists].clone()
        for _ in range(ROUNDS):
            own = nearest_list(sample, centroids)
            counts = torch.bincount(own, minlength=lists)[:, None]
            sums = torch.zeros_like(centroids, dtype=torch.float64)
            sums.index_add_(0, own, sample.double())
            centroids = torch.where(counts > 0, (sums / counts.clamp(min=1)).float(), centroids)
        own = nearest_list(rows, centroids)
        ends = torch.bincount(own, minlength=lists).cumsum(0)
        return cls(rows[own.argsort(stable=True)], centroids, ends)

    def search(self, queries: Tensor, k: int, probes: int) -> tuple[Tensor, Tensor]:
        """Rows that are close to each query, nearest first, and their squared distances.

        Args:
            queries: [N, D] float32.
            k: Neighbours to find; where the lists that are looked at hold fewer, all are.
            probes: Lists to look at.

        Returns:
            Rows, [N, k] int64, and squared distances as products give them, [N, k].
        """
        centre = bank_centre(self.centroids)
        queries = queries - centre
        best = queries.new_full((len(queries), k), -math.inf)
        found = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)
        chosen = _closeness(queries, self.centroids - centre).topk(min(probes, len(self.ends)))
        # Queries list by list, so that each list is one product.
        flat = chosen.indices.flatten()
        order = flat.argsort(stable=True)
        sizes = torch.bincount(flat, minlength=len(self.ends)).tolist()
        askers = torch.split(order // chosen.indices.shape[1], sizes)
        for number, end in enumerate(self.ends.tolist()):
            start, asking = int(self.ends[number - 1]) if number else 0, askers[number]
            if start == end or not len(asking):
                continue
            values = _closeness(queries[asking], self.rows[start:end] - centre)
            places = torch.arange(start, end, device=found.device).expand(values.shape)
            values = torch.cat([best[asking], values], dim=1)
            best[asking], taken = values.topk(k, dim=1)
            places = torch.cat([found[asking], places], dim=1)
            found[asking] = places.gather(1, taken)
        squared = queries.square().sum(dim=1, keepdim=True) - 2 * best
        is_short = best[:, -1].isinf()
        if is_short.any():
            exact = search(queries[is_short] + centre, self.rows, k)
            found[is_short], squared[is_short] = exact.indices, exact.distances.square()
        return found, squared

    def distances(self, queries: Tensor, k: int, probes: int) -> Tensor:
        """Distance of each query to the k-th row that is found, [N] float32; see `search`."""
        found, _ = self.search(queries, k, probes)
        return (queries - self.rows[found[:, -1]]).square().sum(dim=1).sqrt()

    def recall(self, k: int, probes: int) -> float:
        """Share of the k nearest other rows that are found for evenly spaced rows of the bank."""
        step = max(1, len(self.rows) // RECALL_ROWS)
        own = torch.arange(0, len(self.rows), step, device=self.rows.device)[:RECALL_ROWS]
        queries, rank = self.rows[own], min(k + 1, len(self.rows))
        exact = search(queries, self.rows, rank).indices
        found, _ = self.search(queries, rank, probes)
        # Row by row: all pairs of thousands of neighbours are too many at once.
        hits = [torch.isin(*pair) for pair in zip(exact, found, strict=True)]
        others = exact != own[:, None]
        return float(torch.stack(hits)[others].double().mean()) if others.any() else 1.0


def nearest_list(rows: Tensor, centroids: Tensor) -> Tensor:
    """Nearest centroid of each row, [M] int64."""
    centre = bank_centre(centroids)
    parts = torch.split(rows, BANK_ROWS)
    return torch.cat([_closeness(p - centre, centroids - centre).argmax(dim=1) for p in parts])


def _closeness(queries: Tensor, others: Tensor) -> Tensor:
    """Inner product less half the squared length of the other, [N, M]; higher means closer."""
    halves = others.square().sum(dim=1) / -2
    return torch.addmm(halves, queries, others.T)
