"""SCALE: multiply each row's features by a factor of how flat they are.

Source: Xu, Chen, Franchi and Yao, "Scaling for Training Time and Post-hoc
Out-of-distribution Detection Enhancement", ICLR 2024 (arXiv:2310.00227); the default
percentile is their 85 for ImageNet. As in their code, the number of activations that the
lower sum leaves out is D percentile / 100, rounded. Departures: activations below zero count
as zero in r; one activation stays in the lower sum at least.

Formula:
    r = sum of positive activations / sum of the D - round(D percentile / 100) largest
    score = S(W (exp(r) f) + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass
from typing import Self

from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import sharpness_scale


@dataclass(frozen=True)
class Config(Settings):
    """Settings of SCALE.

    Attributes:
        percentile: Percent of each row's activations that the lower sum of the factor
            leaves out, 0 to 100. No activation is dropped.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    percentile: Percent = 85.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class SCALE(Method[Config]):
    """Scores rows after scaling their features; nothing is learned but the head."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head."""
        head = inputs.require_head()
        self.weight_, self.bias_ = head.weight, head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        features = batch.features
        scaled = features * sharpness_scale(features, self.config.percentile)[:, None]
        logits = linear(scaled, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)


Entry = SCALE
