"""ASH: drop most activations of each row and reshape the rest.

Source: Djurisic, Bozanic, Ashok and Liu, "Extremely Simple Activation Shaping for
Out-of-Distribution Detection", ICLR 2023 (arXiv:2209.09858). Like the authors' code it
shapes pooled features and drops a number of activations, D percentile / 100, rounded.
For variant s their configurations drop 90 percent on ImageNet (ResNet-50, MobileNetV2), the
default here, 95 on CIFAR-10 and CIFAR-100 and with ViT, 99 with DenseNet-121; on ImageNet
the paper takes 60 for p and 65 for b. Departures: one activation stays at least; activations
equal to the smallest that stays all stay, of which theirs takes any; b raises no zero and
divides by the number of others; activations below zero count as zero in r of s; a row of
zeros stays one. The repository of HIMPLoS (arXiv:2310.18104) cuts at the interpolated
percentile and scales variant s by the exponential of the ratio less one;
`official_exponent: false` gives the latter.

Formula:
    t = smallest of the D - round(D percentile / 100) largest activations of f
    g = f where f >= t, else 0
    p:  h = g
    b:  h = sum(f) / #{g != 0} where g != 0, else 0
    s:  h = g exp(r), r = sum(f) / sum(g) of positive numbers, less 1
        without official_exponent
    score = S(W h + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass
from typing import Self

from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import Variant, shape_largest


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ASH.

    Attributes:
        variant: What becomes of the activations that stay: p leaves them, b sets each to
            the row's sum over their number, s multiplies them by the exponential of the
            row's sum over theirs.
        percentile: Percent of each row's activations to drop, 0 to 100.
        official_exponent: Whether the exponent of s is the paper's, without a minus one.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    variant: Variant = "s"
    percentile: Percent = 90.0
    official_exponent: bool = True
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class ASH(Method[Config]):
    """Scores rows after shaping their features; nothing is learned but the head."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head."""
        head = inputs.require_head()
        self.weight_, self.bias_ = head.weight, head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        logits = linear(
            self._shaped(batch.features), self.learned("weight_"), self.learned("bias_")
        )
        return score_logits(logits, self.config.scorer, self.config.temperature)

    def _shaped(self, features: Features) -> Features:
        config = self.config
        return shape_largest(
            features, config.variant, config.percentile, 0.0 if config.official_exponent else 1.0
        )


Entry = ASH
