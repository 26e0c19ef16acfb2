"""RP-MSP: maximum softmax probability after taking away part of the class prior.

Source: Jiang et al., "Detecting Out-of-distribution Data through In-distribution Class
Prior", ICML 2023, with the weight 0.01 that the authors of ImOOD (NeurIPS 2024,
arXiv:2407.16430) compare with. A row predicted as a frequent class needs more
probability, because networks send outliers there.

Formula:
    p = softmax(z);  prior^tau, made to sum to 1
    score = -max_c (p_c - scale * prior_c)
"""

from dataclasses import dataclass
from typing import Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.priors import tempered_prior


@dataclass(frozen=True)
class Config(Settings):
    """Settings of RP-MSP.

    Attributes:
        tau: Exponent of the prior, 0 or more; 0 means a uniform prior.
        scale: Weight of the prior in the difference, 0 or more; 0 is MSP.
    """

    tau: NonNegative = 1.0
    scale: NonNegative = 0.01


class RPMSP(Method[Config]):
    """Scores rows by minus the largest difference of class probability and prior."""

    needs: frozenset[Need] = frozenset({Need.PRIOR})
    arrays: tuple[str, ...] = ("logits",)
    classes_axis: tuple[str, int] = ("prior_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the prior."""
        self.prior_ = tempered_prior(inputs.require_prior(), self.config.tau)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least -1; higher means more OOD."""
        logits = batch.logits
        penalty = (self.config.scale * self.learned("prior_")).to(logits)
        confidence = (torch.softmax(logits, dim=1) - penalty).amax(dim=1)
        return -confidence


Entry = RPMSP
