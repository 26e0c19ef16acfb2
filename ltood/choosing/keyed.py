"""Random numbers that belong to an id: the same whatever rows are drawn with it.

They come from a hash of the id instead of a stream, so that neither the order of rows nor the
size of batches can move a number from one row to another.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ltood.ops.held_out import keyed_hash


def keyed(ids: Tensor, *key: int) -> Tensor:
    """Uniform numbers in [0, 1), float64, one for each id and key.

    Args:
        ids: Whole numbers, int64, of any shape.
        *key: Whole numbers that name what is drawn, such as a seed and the number of a draw.
    """
    return _uniform(_hashed(ids.cpu().numpy(), key)).to(ids.device)


def keyed_normal(ids: Tensor, columns: int, *key: int) -> Tensor:
    """Standard normal numbers, [N, columns] float64: the row of an id depends on it alone."""
    rows = _hashed(ids.cpu().numpy(), key)[:, None]
    cells = rows ^ _hashed(np.arange(columns), key)
    radius = (-2 * torch.log1p(-_uniform(_hashed(cells, (0,))))).sqrt()
    return (radius * torch.cos(2 * math.pi * _uniform(_hashed(cells, (1,))))).to(ids.device)


def _hashed(numbers: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
    for part in key:
        numbers = keyed_hash(numbers.view(np.int64), part)
    return numbers


def _uniform(hashed: np.ndarray) -> Tensor:
    """The upper 53 bits, as many as float64 holds, as fractions."""
    return torch.from_numpy((hashed >> np.uint64(11)).astype(np.float64) / 2**53)
