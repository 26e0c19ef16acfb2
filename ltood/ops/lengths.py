"""Lengths and directions of rows, also of those whose squares float32 does not hold.

A length of 1e20 is a number of float32, its square is infinite: a row divided by such a length
would be zero, and score as if it had no direction.
"""

import torch
from torch import Tensor

#: Shorter rows are divided by this; a zero row stays zero.
SMALLEST_LENGTH = 1e-12


def lengths(rows: Tensor) -> Tensor:
    """L2 norms of rows [..., D], [...] of the same type."""
    return remeasured(torch.linalg.vector_norm(rows, dim=-1), rows)


def remeasured(found: Tensor, rows: Tensor) -> Tensor:
    """Lengths that were found, [...], with those that are infinite taken again in float64.

    Args:
        found: Lengths of `rows`; changed in place.
        rows: [..., D].
    """
    too_long = found.isinf()
    if too_long.any():
        exact = torch.linalg.vector_norm(rows[too_long].double(), dim=-1)
        found[too_long] = exact.to(found.dtype)
    return found


def unit(rows: Tensor) -> Tensor:
    """Rows [..., D] divided by their lengths; zero rows stay zero."""
    scaled: Tensor = rows / lengths(rows).clamp(min=SMALLEST_LENGTH)[..., None]
    return scaled
