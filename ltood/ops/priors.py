"""The tempered class prior, for scores that compare the softmax with it."""

import torch
from torch import Tensor

from ltood.core.prior import ClassPrior


def tempered_prior(prior: ClassPrior, tau: float) -> Tensor:
    """Class shares raised to `tau` and made to sum to 1, [C] float64.

    Args:
        prior: Training counts. A class without samples keeps the share 0, unless tau is 0.
        tau: Exponent, 0 or more; 0 gives the uniform prior.
    """
    counts = torch.tensor(prior.counts, dtype=torch.float64)
    # Relative to the largest count, no power can overflow.
    powers = (counts / counts.amax()) ** tau
    return powers / powers.sum()
