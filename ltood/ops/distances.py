"""Euclidean distances of many pairs, by one product wherever that keeps the digits.

A product gives a squared distance as the difference of squares, which loses the digits of close
pairs. Differences keep them but cost many times as much, so close pairs alone are taken that way.
"""

import torch
from torch import Tensor

from ltood.ops.graphs import is_written

#: Pairs whose squared distance is a smaller share than this of their squared lengths are close:
#: the product leaves the others ten digits or more.
CLOSE_SHARE = 1e-5

#: Most values of differences that are held at once (32 MiB).
DIFFERENCE_VALUES = 2**22


def pair_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Distance of each row to each of the others, [N, K] float64.

    Args:
        rows: [N, D] float64.
        others: [K, D] float64.
    """
    if is_written():
        return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")
    # Measured from the middle of the others, squares are as small as the data allow.
    centre = others.mean(dim=0)
    left, right = rows - centre, others - centre
    lengths = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1)
    squared = torch.addmm(lengths, left, right.T, alpha=-2)
    first, second = (squared <= CLOSE_SHARE * lengths).nonzero(as_tuple=True)
    found = squared.clamp_(min=0).sqrt_()
    at_once = max(1, DIFFERENCE_VALUES // rows.shape[1])
    for i, j in zip(torch.split(first, at_once), torch.split(second, at_once), strict=True):
        found[i, j] = torch.linalg.vector_norm(rows[i] - others[j], dim=1)
    return found
