"""Training rows that are nearest to a few others, in the space that the method sees.

Exact search by cosine. Both sides are read in batches: memory holds the few rows and their
neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ltood.runtime.console import progress
from ltood.scoring.session import ScoringSession


@dataclass(frozen=True)
class NearestRows:
    """Nearest training rows of n rows, nearest first.

    Attributes:
        ids: Their row numbers in the dataset, [n, K].
        labels: Their classes, [n, K].
        similarities: Cosines, [n, K].
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    similarities: NDArray[np.float32]


def nearest_rows(
    session: ScoringSession, wanted: Mapping[str, NDArray[np.int64]], k: int, train: str = "train"
) -> dict[str, NearestRows]:
    """The k training rows with the largest cosine to each of some rows.

    Args:
        session: The store as the calibrator shows it.
        wanted: Row numbers by split, which may be named twice.
        k: Neighbours of each row; all training rows where there are fewer.
        train: Split that is searched.

    Raises:
        StoreError: If a split is missing.
        CorruptStoreError: If stored bytes are missing or changed.
    """
    queries = torch.cat([_rows(session, split, rows) for split, rows in wanted.items()])
    count = min(k, len(session.source(train)))
    best = queries.new_full((len(queries), count), -torch.inf)
    columns = {
        name: torch.zeros((len(queries), count), dtype=torch.int64, device=queries.device)
        for name in ("ids", "labels")
    }
    source = session.source(train)
    with progress("nearest training images", len(source)) as advance:
        for batch in source.batches(arrays=["features", "ids", "labels"]):
            found = queries @ normalize(batch.features.float(), dim=1).T
            values, places = torch.cat([best, found], dim=1).topk(count, dim=1)
            best = values
            for name, own in (("ids", batch.ids), ("labels", batch.labels)):
                both = torch.cat([columns[name], own.expand(len(queries), -1)], dim=1)
                columns[name] = both.gather(1, places)
            advance(len(batch))
    return _by_split(wanted, best, columns)


def _rows(session: ScoringSession, split: str, rows: NDArray[np.int64]) -> Tensor:
    """Unit features of some rows, in their order."""
    source, start = session.source(split), 0
    found = torch.zeros((len(rows), source.dim), device=session.device)
    for batch in source.batches(arrays=["features"]):
        inside = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
        if len(inside):
            own = torch.from_numpy(rows[inside] - start).to(session.device)
            found[torch.from_numpy(inside).to(session.device)] = batch.features[own].float()
        start += len(batch)
    return normalize(found, dim=1)


def _by_split(
    wanted: Mapping[str, NDArray[np.int64]], best: Tensor, columns: Mapping[str, Tensor]
) -> dict[str, NearestRows]:
    found, start = {}, 0
    for split, rows in wanted.items():
        part = slice(start, start + len(rows))
        found[split] = NearestRows(
            columns["ids"][part].cpu().numpy(),
            columns["labels"][part].cpu().numpy(),
            best[part].cpu().numpy(),
        )
        start += len(rows)
    return found
