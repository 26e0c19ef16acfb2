"""Percentiles of products of each column of a matrix with a factor of its own.

What a class makes of all head weights is as many products as the head has weights, for each class:
sorted by column once, the products of any factors can be counted below a value without making
them, and no more than a few thousand are ever made and selected from.
"""

import torch
from torch import Tensor

#: Products that are left to select from when counting stops.
SELECTED = 8192

#: Most halvings of the range; values that tie stay together, however often.
HALVINGS = 60

#: Range of products that are all 0.
LEAST_RANGE = 1e-200

#: By how much the range is widened at the end, relative to its ends: counting compares quotients,
#: which are rounded.
MARGIN = 1e-12


def product_percentile(factors: Tensor, ordered: Tensor, percent: float) -> Tensor:
    """Percentile of factors[d] * ordered[d, c] over all d and c, 0-d float64.

    Equal to `shaping.overall_percentile` of all products, bit by bit.

    Args:
        factors: 0 or more, [D] float64.
        ordered: [D, C] float64, each row in ascending order.
        percent: 0 to 100.
    """
    rank = percent / 100 * (ordered.numel() - 1)
    low = int(rank)
    fraction = rank - low
    below, above = _ranked(factors, ordered, low, min(low + 1, ordered.numel() - 1))
    gap = above - below
    # The nearer end is the start, as in NumPy: strict comparisons see the last bit.
    return below + gap * fraction if fraction < 0.5 else above - gap * (1 - fraction)


def _ranked(factors: Tensor, ordered: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Products of two neighbouring ranks, counted from 0."""
    is_zero = factors == 0

    def counts(value: float) -> Tensor:
        """How many products of each row are at most a value, [D]."""
        # Where the factor is 0 so are all products.
        of_zero = torch.inf if value >= 0 else -torch.inf
        quotients = torch.where(is_zero, of_zero, value / factors)
        return torch.searchsorted(ordered, quotients[:, None], right=True)[:, 0]

    low = float((factors * ordered[:, 0]).amin())
    high = float((factors * ordered[:, -1]).amax())
    # Strictly outside of all products, also where these are all the same.
    beyond = max(high - low, abs(low), LEAST_RANGE)
    low, high = low - beyond, high + beyond
    num_low, num_high = 0, ordered.numel()
    for _ in range(HALVINGS):
        if num_high - num_low <= SELECTED:
            break
        middle = low + (high - low) / 2
        found = int(counts(middle).sum())
        if found <= first:
            low, num_low = middle, found
        elif found > last:
            high, num_high = middle, found
        else:  # Between the two.
            break
    starts = counts(low - MARGIN * abs(low))
    lengths = counts(high + MARGIN * abs(high)) - starts
    rows = torch.repeat_interleave(lengths)
    places = torch.arange(len(rows), device=rows.device)
    columns = places - (lengths.cumsum(0) - lengths - starts)[rows]
    products = (factors[rows] * ordered[rows, columns]).sort().values
    skipped = int(starts.sum())
    return products[first - skipped], products[last - skipped]


def strict_bounds(factors: Tensor, threshold: Tensor) -> Tensor:
    """For each factor the largest number whose product is not above a threshold, [D] float32.

    So that w > bound says factor * w > threshold to the last bit, without a product.

    Args:
        factors: 0 or more, [D] float64.
        threshold: 0-d float64.
    """
    infinity = torch.tensor(torch.inf, device=factors.device)
    bounds = (threshold / factors).float()
    # Two steps each way are more than rounding can be off.
    for _ in range(2):
        bounds = torch.where(factors * bounds > threshold, bounds.nextafter(-infinity), bounds)
    for _ in range(2):
        above = bounds.nextafter(infinity)
        bounds = torch.where(factors * above > threshold, bounds, above)
    never = torch.where(threshold < 0, -infinity, infinity)
    return torch.where(factors > 0, bounds, never)
