"""Scores of one batch, refused where a method is at fault."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import FeatureBatch
from ltood.core.errors import LtoodError


def checked_scores(
    scores: Tensor, batch: FeatureBatch, entry: str, split: str
) -> NDArray[np.float32]:
    """Scores of one batch as a NumPy column, [N].

    Args:
        scores: What the entry gave.
        batch: The rows it was given.
        entry: What gave them, such as "method knn".
        split: Split of the rows.

    Raises:
        LtoodError: If a score is not finite or a row is missing.
    """
    if scores.shape != (len(batch),):
        raise LtoodError(
            f"{entry} gave scores of shape {tuple(scores.shape)} for {len(batch)} rows; "
            "this is a fault of the method."
        )
    bad = ~torch.isfinite(scores)
    if bad.any():
        first = int(batch.ids[bad][0])
        raise LtoodError(
            f"{entry} gave {int(bad.sum())} scores that are not finite in split {split} (first at "
            f"id {first}); check its settings, such as a clip or temperature out of range."
        )
    column: NDArray[np.float32] = scores.float().cpu().numpy()
    return column
