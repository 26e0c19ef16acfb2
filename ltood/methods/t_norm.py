"""T-norm: score the logits of a head whose class weights all have the same norm.

Source: Kang, Xie, Rohrbach, Yan, Gordo, Feng and Kalantidis, "Decoupling Representation
and Classifier for Long-Tailed Recognition", ICLR 2020 (arXiv:1910.09217), the
tau-normalised classifier; offered for OOD detection by the code of He et al. (PATT, AAAI
2025, arXiv:2408.06742) with tau 1. Head classes have larger weights than tail classes,
which this undoes. The ImageNet script of PATT also halves the logits: temperature 2.

Formula:
    z_c = w_c . f / |w_c|^tau, without bias
    score = S(z)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the normalised head.

    Attributes:
        tau: Power of the norm that divides each class's weights; 1 makes all norms
            equal, 0 only drops the bias. Finite, 0 or more.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    tau: NonNegative = 1.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


def normalised_weight(weight: Tensor, tau: float) -> Tensor:
    """Class weights divided by their norm to the power `tau`, [C, D] float32.

    Args:
        weight: Head weights, [C, D]; a row of zeros stays one.
        tau: Power of the norm.
    """
    wide = weight.double()
    norms = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    return (wide / torch.where(norms == 0, 1.0, norms) ** tau).float()


class TNorm(Method[Config]):
    """Scores rows by the logits of the normalised head, without its bias."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Normalise the head."""
        self.weight_ = normalised_weight(inputs.require_head().weight, self.config.tau)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        logits = batch.features @ self.learned("weight_").T
        return score_logits(logits, self.config.scorer, self.config.temperature)


Entry = TNorm
