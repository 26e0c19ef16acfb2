"""RP-GradNorm: GradNorm with the class prior in the place of the uniform distribution.

Source: Jiang et al., "Detecting Out-of-distribution Data through In-distribution Class
Prior", ICML 2023, as the authors of ImOOD (NeurIPS 2024, arXiv:2407.16430) compare with
it. Departure: the softmax is compared with the prior itself. ImOOD's code takes the
softmax of the prior, which is nearly uniform whatever the imbalance;
`official_softmax_prior` brings that back to reproduce published figures.

Formula:
    p = softmax(z);  prior^tau, made to sum to 1
    score = -sum_c |p_c - prior_c| * sum_d |f_d|
"""

from dataclasses import dataclass
from typing import Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.gradients import gradient_norm
from ltood.ops.priors import tempered_prior


@dataclass(frozen=True)
class Config(Settings):
    """Settings of RP-GradNorm.

    Attributes:
        tau: Exponent of the prior, 0 or more; 0 means a uniform prior, which is GradNorm.
        official_softmax_prior: Compare with the softmax of the prior, as the authors' code
            of ImOOD does.
    """

    tau: NonNegative = 1.0
    official_softmax_prior: bool = False


class RPGradNorm(Method[Config]):
    """Scores rows by minus the norm of the gradient that pulls the softmax to the prior."""

    needs: frozenset[Need] = frozenset({Need.PRIOR})
    classes_axis: tuple[str, int] = ("prior_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the prior."""
        prior = tempered_prior(inputs.require_prior(), self.config.tau)
        self.prior_ = torch.softmax(prior, dim=0) if self.config.official_softmax_prior else prior
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at most 0, in units of features; higher means more OOD."""
        logits = batch.logits
        norm = gradient_norm(batch.features, logits, self.learned("prior_").to(logits))
        # The norm grows with ID-ness; ours must grow with OOD-ness.
        return -norm


Entry = RPGradNorm
