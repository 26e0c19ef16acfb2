"""BATS: pull features back into the typical range of their batch normalisation.

Source: Zhu, Chen, Xie, Li, Zhang, Xue, Tian, Zheng and Chen, "Boosting Out-of-
distribution Detection with Typical Features", NeurIPS 2022 (arXiv:2210.04200). The bias
and weight of the last batch-norm layer are mean and deviation of its outputs. Departures:
pooled features are rectified, as in the code of HIMPLoS (arXiv:2310.18104), where the
paper rectifies before pooling; and a negative weight counts by its size. Without that
its bounds are crossed, and the lower one wins always, as in that code
(`official_crossed_bounds`).

Formula:
    g_d = clip(f_d, beta_d - lam |gamma_d|, beta_d + lam |gamma_d|)
    with weight gamma and bias beta of the last batch norm
    score = S(W g + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits


@dataclass(frozen=True)
class Config(Settings):
    """Settings of BATS.

    Attributes:
        lam: Lambda of the paper, half the width of the range in deviations, above 0. HIMPLoS uses
            1 for DenseNet and 3.3 for ResNet-18 on CIFAR-10, 1.25 on ImageNet, in its code.
        official_crossed_bounds: Use negative batch-norm weights as they are.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    lam: Positive = 1.0
    official_crossed_bounds: bool = False
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


def normalisation(head: ClassifierHead) -> tuple[Tensor, Tensor]:
    """Bias and weight of the last batch-norm layer, [D] each.

    Raises:
        MissingNeedError: If the head comes without them.
    """
    if head.bn_bias is None or head.bn_weight is None:
        raise MissingNeedError(f"fit needs {Need.NORM.value}, which it was not given.")
    return head.bn_bias, head.bn_weight


class BATS(Method[Config]):
    """Scores rows after bounding their features; nothing is learned from training rows."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.NORM})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head and find the bounds of each feature."""
        head = inputs.require_head()
        mean, deviation = normalisation(head)
        if not self.config.official_crossed_bounds:
            deviation = deviation.abs()
        self.weight_, self.bias_ = head.weight, head.bias
        self.lower_ = mean - self.config.lam * deviation
        self.upper_ = mean + self.config.lam * deviation
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        # In this order the lower bound wins where bounds are crossed.
        upper_bounded = torch.minimum(batch.features, self.learned("upper_"))
        typical = torch.maximum(upper_bounded, self.learned("lower_"))
        logits = linear(typical, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)


Entry = BATS
