"""Otsu's threshold: the cut that leaves the least variance within the two sides."""

import math

import torch
from torch import Tensor

#: Steps of the grid between 0 and 1.
STEPS = 100


def otsu_threshold(values: Tensor) -> float:
    """Cut of a grid of hundredths, in [0, 1), with the least variance within both sides.

    Of equally good cuts the middle one counts; 0.5 where no cut leaves values on both sides.

    Args:
        values: Numbers in [0, 1], [N]; a value at the cut belongs to the upper side.
    """
    ordered = values.double().sort().values
    number = len(ordered)
    grid = torch.arange(STEPS, dtype=torch.float64, device=values.device) / STEPS
    below = torch.searchsorted(ordered, grid)
    zero = ordered.new_zeros(1)
    sums, squares = (torch.cat([zero, part.cumsum(0)]) for part in (ordered, ordered.square()))
    sides = (
        (below, sums[below], squares[below]),
        (number - below, sums[-1] - sums[below], squares[-1] - squares[below]),
    )
    # A side's count times its variance, without the common factor 1/N.
    within = sum(square - total.square() / count.clamp(min=1) for count, total, square in sides)
    within = torch.where((below == 0) | (below == number), math.inf, within)
    best = torch.nonzero(within == within.min()).flatten()
    return float(grid[best[len(best) // 2]])
