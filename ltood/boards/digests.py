"""Digests of the scores of a row, split by split."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from ltood.comparing.scores import ComparedScores


def score_digests(scores: ComparedScores, title: str) -> dict[str, str]:
    """SHA-256 of the scores of a row by split: float32, little endian, in the order of the rows.

    A row that keeps no scores, as one of streams, has none.

    Raises:
        CorruptStoreError: If a file is damaged.
    """
    if title not in scores.titles:
        return {}
    row = scores.titles.index(title)
    return {name: _sha256(scores.split(row, name).scores) for name in scores.splits}


def _sha256(scores: NDArray[np.float32]) -> str:
    return hashlib.sha256(scores.astype("<f4").tobytes()).hexdigest()
