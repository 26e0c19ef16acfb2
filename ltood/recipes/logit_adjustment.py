"""Logit adjustment: cross entropy on logits shifted by the class prior.

Source: Menon, Jayasumana, Rawat, Jain, Veit and Kumar, "Long-tail Learning via Logit
Adjustment", ICLR 2021 (arXiv:2007.07314), section 5, equation 10. The shift is used in
training only; the stored logits are the raw ones, which then suit balanced test data.

Measured with one seed on the first demo images (500 to 5 per class, balanced test): 79.7 % accuracy
in 33 s on two CPU cores, with the small CIFAR ResNet, 40 epochs of SGD at the loop's defaults
and shifts of 2 pixels; cross entropy reached 75.0 % so. Not yet measured on CIFAR-LT.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.limits import NonNegative, Positive
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy
from ltood.recipes._base import StepBatch, TrainingRecipe


@dataclass(frozen=True)
class Config(Settings):
    """Settings of logit adjustment.

    Attributes:
        tau: Strength of the shift; 1 is the paper's, 0 is plain cross entropy.
        temperature: Divides the logits before the shift. Unitless, above 0.
    """

    tau: NonNegative = 1.0
    temperature: Positive = 1.0


class LogitAdjustment(TrainingRecipe):
    """Cross entropy of shifted class logits."""

    log_prior: Tensor

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            DataError: If a class has no training images.
        """
        super().__init__(prior)
        self.config = config
        self.register_buffer("log_prior", torch.tensor(prior.log(), dtype=torch.float32))

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The one term `logit_adjusted`, in nats."""
        term = logit_adjusted_cross_entropy(
            batch.forward(batch.images).logits.float(),
            batch.labels,
            log_prior=self.log_prior,
            tau=self.config.tau,
            temperature=self.config.temperature,
        )
        return {"logit_adjusted": term}


Entry = LogitAdjustment
