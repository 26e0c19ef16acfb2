"""One statistic of the p-values that several detectors give the same row.

All take logarithms of p-values, [K, N] float64, and give a statistic, [N] float64, that is higher
where the row is more OOD. None of them is a p-value of its own: members agree with one another
on ID rows to a degree that no formula knows, which is why a second conformal map follows.

Sources: Simes, Biometrika 1986; Tippett, "The Methods of Statistics", 1931 (smallest p-value);
Fisher, "Statistical Methods for Research Workers", 1932; Stouffer et al., "The American Soldier",
1949; Liu and Xie, "Cauchy Combination Test", JASA 2020.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

#: Below this logarithm a p-value is taken from the tail of the normal distribution by Newton's
#: method; three steps from the starting point below reach the last digits.
_DEEP = -30.0
_NEWTON_STEPS = 3
#: Beyond this the arc tangent of x is pi / 2 - 1 / x to the last digit.
_STEEP = 1e8


def simes(log_p: Tensor) -> Tensor:
    """Rarest of the members, of its two rarest, and so on: -log min_i p_(i) K / i.

    One member that is sure suffices, and so do many that are half sure.
    """
    members = len(log_p)
    ranks = torch.arange(1, members + 1, dtype=log_p.dtype, device=log_p.device)
    penalties = (members / ranks).log()[:, None]
    return -(log_p.sort(dim=0).values + penalties).amin(dim=0)


def min_p(log_p: Tensor) -> Tensor:
    """Rarest of the members: -log min p."""
    return -log_p.amin(dim=0)


def fisher(log_p: Tensor) -> Tensor:
    """Members add up: -2 sum log p."""
    return -2 * log_p.sum(dim=0)


def stouffer(log_p: Tensor) -> Tensor:
    """Members add up as normal scores: sum z / sqrt(K)."""
    return normal_scores(log_p).sum(dim=0) / math.sqrt(len(log_p))


def top_half(log_p: Tensor) -> Tensor:
    """Mean normal score of the rarer half of the members, rounded up."""
    scores = normal_scores(log_p)
    return scores.topk((len(scores) + 1) // 2, dim=0).values.mean(dim=0)


def cauchy(log_p: Tensor) -> Tensor:
    """Members add up as Cauchy variables, which the rarest rules: -log of the combined p-value."""
    smallest = log_p.amin(dim=0)
    # Cotangents of pi p, each times the smallest p so that none is too large for float64.
    small = log_p < -math.log(_STEEP)
    angles = math.pi * torch.where(small, 0.5, log_p.exp())
    cotangents = torch.where(
        small, (smallest - log_p).exp() / math.pi, smallest.exp() / torch.tan(angles)
    )
    mean, scale = cotangents.mean(dim=0), smallest.exp()
    steep = mean > _STEEP * scale
    direct = -(torch.atan2(scale, mean) / math.pi).log()
    # Where the scale is too small for float64 its logarithm still stands.
    far = math.log(math.pi) + torch.where(steep, mean, 1.0).log() - smallest
    return torch.where(steep, far, direct)


#: Statistics of p-values by the name of their rule.
P_VALUE_RULES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "simes": simes,
    "min_p": min_p,
    "fisher": fisher,
    "stouffer": stouffer,
    "cauchy": cauchy,
    "top_half": top_half,
}


def below_one(log_p: Tensor, rows: int) -> Tensor:
    """Logarithms of p-values that stay below 0, so that normal scores and cotangents are finite.

    Args:
        log_p: Logarithms of conformal p-values, any shape.
        rows: Calibration rows n; a p-value of 1 becomes (n + 1/2) / (n + 1), above all others.
    """
    return log_p.clamp(max=math.log1p(-0.5 / (rows + 1)))


def normal_scores(log_p: Tensor) -> Tensor:
    """Scores z with P(Z >= z) = p for a standard normal Z; any shape, float64, p below 1."""
    shallow: Tensor = -torch.special.ndtri(log_p.clamp(min=_DEEP).exp())
    deep = log_p < _DEEP
    if not deep.any():
        return shallow
    wanted = torch.where(deep, log_p, _DEEP)
    twice = -2 * wanted - math.log(2 * math.pi)
    found = (twice - twice.log()).sqrt()
    for _ in range(_NEWTON_STEPS):
        log_tail = torch.special.log_ndtr(-found)
        # The slope of log P(Z >= z) is minus the density over the tail.
        log_density = -found.square() / 2 - math.log(2 * math.pi) / 2
        found = found + (log_tail - wanted) * (log_tail - log_density).exp()
    scores: Tensor = torch.where(deep, found, shallow)
    return scores


def mean_standardised(scores: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """Mean over members of scores in units of their spread over calibration rows, [N].

    Args:
        scores: Scores, [K, N] float64.
        means: Their means over calibration rows, [K].
        deviations: Their standard deviations over calibration rows, [K]; 0 counts as 1.
    """
    spread = torch.where(deviations > 0, deviations, 1.0)
    return ((scores - means[:, None]) / spread[:, None]).mean(dim=0)


def mean_softmax(log_probabilities: Tensor) -> Tensor:
    """-log of the largest class probability of the mean of several softmaxes, [N].

    Source: COOkeD (ICCVW 2025, arXiv:2507.22576), with the maximum softmax probability as score.

    Args:
        log_probabilities: Log softmax of the logits of each member, [K, N, C] float64.
    """
    return -mean_log_probabilities(log_probabilities).amax(dim=1)


def mean_log_probabilities(log_probabilities: Tensor) -> Tensor:
    """Logarithm of the mean of several softmaxes, [N, C], finite.

    Args:
        log_probabilities: Log softmax of the logits of each member, [K, N, C] float64.
    """
    mean: Tensor = log_probabilities.logsumexp(dim=0) - math.log(len(log_probabilities))
    return mean
