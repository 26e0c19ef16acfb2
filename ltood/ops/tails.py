"""Tails of calibration scores: how fast rarity grows beyond the last of them, and on both sides.

The exponential tail is the limit of excesses over a high threshold for light-tailed scores
(Pickands, "Statistical Inference Using Extreme Order Statistics", Annals of Statistics 1975, with
shape 0). It orders rows that no calibration row resembles; nothing is decided by it.
"""

import math

import torch
from torch import Tensor

#: Share of the calibration rows whose excesses give the scale of a tail.
TAIL_SHARE = 0.05


def tail_scales(ordered: Tensor) -> Tensor:
    """Mean excess of the largest and of the smallest scores over the next one, [2] float64.

    It is the maximum-likelihood scale of an exponential tail behind the largest (smallest)
    `TAIL_SHARE` of the rows. Where these are all equal, the mean over all rows stands in, and
    where all rows are equal, 1. Without rows it is infinite.

    Args:
        ordered: Calibration scores in ascending order, [n] float64.
    """
    return torch.stack([_mean_excess(ordered), _mean_excess(-ordered.flip(0))])


def _mean_excess(ordered: Tensor) -> Tensor:
    num = len(ordered)
    if num == 0:
        return ordered.new_tensor(torch.inf)
    tail = min(math.ceil(TAIL_SHARE * num), num - 1)
    for rows in (tail, num - 1):
        # Differences before the mean: large scores of small spread keep their digits.
        if rows and (excess := ordered[num - rows :] - ordered[num - rows - 1])[-1] > 0:
            return excess.mean()
    return ordered.new_ones(())


def doubled(upper: Tensor, lower: Tensor) -> Tensor:
    """P-value of the rarer of two sides: twice the smaller one, at most 1."""
    return (2 * torch.minimum(upper, lower)).clamp(max=1)


def log_doubled(upper: Tensor, lower: Tensor) -> Tensor:
    """The same for logarithms of p-values."""
    return (torch.minimum(upper, lower) + math.log(2)).clamp(max=0)
