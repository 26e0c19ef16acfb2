"""Weibull distributions of many samples at once, by maximum likelihood in float64.

The shape solves the profile equation sum(x^k ln x) / sum(x^k) - 1/k = mean(ln x), whose
left side grows with k, so Newton's method inside a bracket always finds the one root.
"""

import math

import torch
from torch import Tensor

#: Fewest values that two parameters are fitted to.
MIN_VALUES = 3

#: Values below this share of the largest one count as zero and are left out.
RELATIVE_FLOOR = 1e-12

#: Smallest standard deviation of the logs, a relative spread, that gives a shape.
MIN_SPREAD = 1e-6

#: The root is found to this share of its value; far fewer steps than the most are needed.
TOLERANCE = 1e-12
MAX_STEPS = 200


def fit_weibull(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a Weibull distribution to the positive values of each row.

    Args:
        samples: Values, [R, n] float64, 0 or more; zeros are padding.

    Returns:
        Shapes and scales, [R] float64 each. A row with fewer than `MIN_VALUES` positive
        values, or with equal ones, has shape 1 and an infinite scale: probability 0
        everywhere.
    """
    largest = samples.amax(dim=1, keepdim=True)
    used = (samples > RELATIVE_FLOOR * largest) & (largest > 0)
    # Relative to the largest value no power can overflow, and units drop out.
    logs = torch.where(used, samples / largest, 1.0).log()
    count = used.sum(dim=1)
    mean = logs.sum(dim=1) / count.clamp(min=1)
    squares = torch.where(used, logs - mean[:, None], 0.0).square()
    spread = (squares.sum(dim=1) / count.clamp(min=1)).sqrt()
    is_fitted = (count >= MIN_VALUES) & (spread > MIN_SPREAD)
    # The logs of Weibull values have the standard deviation pi / (sqrt(6) k).
    start = math.pi / math.sqrt(6) / torch.where(is_fitted, spread, 1.0)
    shape = _solve(logs, used, mean, start)
    powers = torch.where(used, (shape[:, None] * logs).exp(), 0.0).sum(dim=1)
    scale = largest[:, 0] * (powers / count.clamp(min=1)) ** (1 / shape)
    return torch.where(is_fitted, shape, 1.0), torch.where(is_fitted, scale, math.inf)


def _solve(logs: Tensor, used: Tensor, mean: Tensor, start: Tensor) -> Tensor:
    """Root of the profile equation of each row, [R]."""
    low, high, shape = start * 1e-6, start * 1e6, start
    for _ in range(MAX_STEPS):
        weights = torch.where(used, (shape[:, None] * logs).exp(), 0.0)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(logs.dtype).tiny)
        first = (weights * logs).sum(dim=1)
        excess = first - 1 / shape - mean
        slope = (weights * (logs - first[:, None]).square()).sum(dim=1) + shape**-2
        low, high = torch.where(excess < 0, shape, low), torch.where(excess < 0, high, shape)
        newton = shape - excess / slope
        # Outside the bracket Newton's step is worthless; halve the bracket instead.
        following = torch.where((newton >= low) & (newton <= high), newton, (low * high).sqrt())
        has_converged = bool(((following - shape).abs() <= TOLERANCE * shape).all())
        shape = following
        if has_converged:
            break
    return shape


def weibull_cdf(values: Tensor, shape: Tensor, scale: Tensor) -> Tensor:
    """Probability of a value of at most `values`, in [0, 1].

    Args:
        values: [..., R] float64, 0 or more.
        shape: [R], above 0.
        scale: [R], above 0; infinite gives the probability 0.
    """
    return -torch.expm1(-((values / scale) ** shape))
