"""Rows that set a threshold although an entry has learned from them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ltood.core.arrays import Rows
from ltood.core.batches import BATCH_ROWS
from ltood.core.errors import DataError
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.incoming import finite, shaped
from ltood.scoring.session import ScoringSession

#: Share of rows that may equal others by accident, such as those of plain black images.
ACCIDENTAL_COPIES = 0.01


def refuse_learned(fitted: DeployedDetector, session: ScoringSession, features: Rows) -> None:
    """Refuse rows of the split val from which `fit` has learned, as their numbers show.

    Such rows score lower than new ones, so that a promise that rests on them is broken.

    Args:
        fitted: Detector.
        session: What it was fitted on.
        features: Rows that shall set the threshold, [N, D].

    Raises:
        DataError: If more of them are such rows than by accident.
    """
    learned = {number for rows in _learned(fitted, session) for number in _numbers(rows)}
    if not learned:
        return
    given = shaped(features, fitted.head.dim)
    copies = 0
    for start in range(0, len(given), BATCH_ROWS):
        block = finite(given[start : start + BATCH_ROWS], "features", torch.device("cpu"), start)
        copies += sum(number in learned for number in _numbers(block))
    if copies > ACCIDENTAL_COPIES * len(given):
        raise DataError(
            f"{copies} of {len(given)} rows are rows of val that fit has learned from, which score "
            "lower than new ones. Call set_threshold without features, which takes the rows of "
            "val that nothing was learned from, or give other ID rows."
        )


def _learned(fitted: DeployedDetector, session: ScoringSession) -> Iterator[Tensor]:
    """Features of the rows of val that a slot has learned from, batch by batch."""
    if "val" not in session.store.splits:
        return
    for batch in session.source("val").batches(arrays=["features", "ids", "labels"]):
        yield batch.features[fitted.learned_rows(batch.ids, batch.labels)]


def _numbers(rows: Tensor) -> Iterator[int]:
    """One number for each row, the same for equal rows."""
    return (hash(row.tobytes()) for row in rows.float().cpu().numpy())
