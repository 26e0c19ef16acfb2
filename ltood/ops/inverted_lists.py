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
from ltood.runtime.large import room_for

#: Rows of each list that its centroid is learned from, and rounds of learning.
ROWS_PER_LIST = 64
ROUNDS = 10

#: Rows that a query is compared with at least, for each neighbour it looks for.
ROWS_PER_RANK = 10

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
        # In its own room, part by part: all rows at once would take memory that may not be there.
        listed = room_for(rows.shape, rows.dtype, rows.device, "the rows list by list")
        parts = torch.split(own.argsort(stable=True), BANK_ROWS)
        for part, target in zip(parts, torch.split(listed, BANK_ROWS), strict=True):
            target.copy_(rows[part])
        return cls(listed, centroids, ends)

    def search(self, queries: Tensor, k: int, probes: int) -> tuple[Tensor, Tensor]:
        """Rows that are close to each query, nearest first, and their squared distances.

        Args:
            queries: [N, D] float32.
            k: Neighbours to find, at most M.
            probes: Lists to look at; more where they hold fewer than `ROWS_PER_RANK` k rows, so
                that no query is answered from a handful.

        Returns:
            Rows, [N, k] int64, and squared distances as products give them, [N, k].
        """
        centre = bank_centre(self.centroids)
        queries = queries - centre
        best = queries.new_full((len(queries), k), -math.inf)
        found = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)
        starts = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])
        ranked = _closeness(queries, self.centroids - centre).argsort(dim=1, descending=True)
        # How many rows the lists before each one hold.
        sizes = (self.ends - starts)[ranked]
        before = sizes.cumsum(dim=1) - sizes
        is_looked_at = before < ROWS_PER_RANK * k
        is_looked_at[:, :probes] = True
        asking, places = is_looked_at.nonzero(as_tuple=True)
        # Queries list by list, so that each list is one product.
        lists = ranked[asking, places]
        order = lists.argsort(stable=True)
        counts = torch.bincount(lists, minlength=len(self.ends)).tolist()
        askers = torch.split(asking[order], counts)
        for start, end, own in zip(starts.tolist(), self.ends.tolist(), askers, strict=True):
            if start == end or not len(own):
                continue
            values = _closeness(queries[own], self.rows[start:end] - centre)
            numbers = torch.arange(start, end, device=found.device).expand(values.shape)
            values = torch.cat([best[own], values], dim=1)
            best[own], taken = values.topk(k, dim=1)
            found[own] = torch.cat([found[own], numbers], dim=1).gather(1, taken)
        return found, queries.square().sum(dim=1, keepdim=True) - 2 * best

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
