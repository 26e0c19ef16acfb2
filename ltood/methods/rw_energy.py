"""RW-Energy: energy weighted by how far the softmax is from the class prior.

Source: Jiang et al., "Detecting Out-of-distribution Data through In-distribution Class
Prior", ICML 2023, as the authors of ImOOD (NeurIPS 2024, arXiv:2407.16430) compare with
it: log sum exp(z) times 1 - cos(softmax(z), prior). A row whose probabilities look like
the prior, as those of outliers do, loses ID-ness. Like the published score it assumes a
positive log sum exp; where that is negative the weight works the other way round.

Formula:
    p = softmax(z);  prior^tau, made to sum to 1
    score = -logsumexp(z) (1 - cos(p, prior))
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch.nn.functional import cosine_similarity

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import energy
from ltood.ops.priors import tempered_prior


@dataclass(frozen=True)
class Config(Settings):
    """Settings of RW-Energy.

    Attributes:
        tau: Exponent of the prior, 0 or more; 0 means a uniform prior.
    """

    tau: NonNegative = 1.0


class RWEnergy(Method[Config]):
    """Scores rows by their energy times one minus the cosine of softmax and prior."""

    needs: frozenset[Need] = frozenset({Need.PRIOR})
    arrays: tuple[str, ...] = ("logits",)
    classes_axis: tuple[str, int] = ("prior_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the prior."""
        self.prior_ = tempered_prior(inputs.require_prior(), self.config.tau)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        # Rows that look like the prior have cosines near 1, where float32 would cancel.
        logits = batch.logits.double()
        prior = self.learned("prior_").to(logits)
        weight = 1 - cosine_similarity(torch.softmax(logits, dim=1), prior[None], dim=1)
        return (weight * energy(logits)).float()


Entry = RWEnergy
