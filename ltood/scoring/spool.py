"""Rows of splits in plain files, so that they can be taken in any order without filling memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.batches import FeatureBatch
from ltood.core.streams import StreamMethod
from ltood.runtime.mapped import map_new
from ltood.scoring.session import ScoringSession


@dataclass(frozen=True, eq=False)
class Spooled:
    """Rows of one split as a calibrator shows them.

    Attributes:
        arrays: What a method reads, [N, ...] each, mapped from files.
        labels: Classes, [N] int64; -1 for OOD rows.
        ids: Row numbers in the dataset, [N] int64.
        predictions: Predicted classes, [N] int64.
    """

    arrays: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    predictions: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ids)


@torch.inference_mode()
def spool(session: ScoringSession, split: str, method: StreamMethod[Any], folder: Path) -> Spooled:
    """Write what a method reads of a split into files of a folder.

    Args:
        session: The store, seen through the calibrator.
        split: Split to read.
        method: The method, fitted.
        folder: Where the files lie; whoever made it removes it.

    Raises:
        StoreError: If the disk has too little room.
    """
    source, files = session.source(split), dict[str, NDArray[Any]]()
    columns: dict[str, list[NDArray[np.int64]]] = {"labels": [], "ids": [], "predictions": []}
    wanted, done = sorted({*method.arrays, session.predicts_from, "labels", "ids"}), 0
    for batch in source.batches(arrays=wanted):
        found = {"labels": batch.labels, "ids": batch.ids, "predictions": session.predict(batch)}
        for name, column in found.items():
            columns[name].append(column.cpu().numpy())
        whole = method.prepared(batch)
        for number, name in enumerate((*method.arrays, *method.once)):
            rows = whole.column(name).cpu().numpy()
            if name not in files:
                # Names may hold the path of another store; numbers never clash.
                path, shape = folder / f"{split}-{number}", (len(source), *rows.shape[1:])
                files[name] = map_new(path, rows.dtype, shape)
            files[name][done : done + len(batch)] = rows
        done += len(batch)
    return Spooled(files, **{name: np.concatenate(parts) for name, parts in columns.items()})


def take(parts: Sequence[Spooled], rows: NDArray[np.int64], device: torch.device) -> FeatureBatch:
    """Rows of several splits as one batch.

    Args:
        parts: Splits, read as if they lay one behind the other.
        rows: Row numbers in that sequence, [B], in the order of the batch.
        device: Where the batch lies.
    """
    starts = np.cumsum([0, *map(len, parts)])
    found: dict[str, torch.Tensor] = {}
    for name, first in parts[0].arrays.items():
        block = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for part, start in zip(parts, starts[:-1], strict=True):
            inside = (rows >= start) & (rows < start + len(part))
            block[inside] = part.arrays[name][rows[inside] - start]
        found[name] = torch.from_numpy(block).to(device)
    ids = np.concatenate([part.ids for part in parts])[rows]
    return FeatureBatch({**found, "ids": torch.from_numpy(ids).to(device)})
