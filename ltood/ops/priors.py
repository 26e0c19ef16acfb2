"""The tempered class prior, for scores that compare the softmax with it."""

import math

import torch
from torch import Tensor

from ltood.core.errors import ConfigError
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


def check_tau(tau: float, where: str) -> None:
    """Refuse an exponent that turns the prior upside down.

    Args:
        tau: The setting's value.
        where: The setting's path, such as "methods.rp_msp.tau".

    Raises:
        ConfigError: Unless the value is a finite number, 0 or more.
    """
    if not 0 <= tau < math.inf:
        raise ConfigError(
            f"{where} is {tau}; it is the prior's exponent, so set it to 0 or more (1 keeps the "
            "prior, 0 makes it uniform)."
        )
