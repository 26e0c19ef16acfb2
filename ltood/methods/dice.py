"""DICE: score the logits of a head that keeps only its largest contributions.

Source: Sun and Li, "DICE: Leveraging Sparsification for Out-of-Distribution Detection",
ECCV 2022 (arXiv:2111.09805). As in the authors' code the threshold is
one percentile of the contributions of all classes and features together. They drop 90
percent on CIFAR and 70 on ImageNet.

Formula:
    keep w_cd where w_cd mean_d(f) > percentile of all C x D contributions, else 0
    score = S(W_kept f + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import contributing
from ltood.ops.statistics import class_statistics


@dataclass(frozen=True)
class Config(Settings):
    """Settings of DICE.

    Attributes:
        percentile: Percent of the head's weights to drop, 0 to 100.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    percentile: Percent = 90.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class DICE(Method[Config]):
    """Scores rows by a sparse head; training rows only give the mean feature."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the weights that contribute most on average."""
        head = inputs.require_head()
        mean = class_statistics(inputs).mean
        kept = contributing(head.weight, mean, self.config.percentile)
        self.weight_, self.bias_ = torch.where(kept, head.weight, 0.0), head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        logits = linear(batch.features, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)


Entry = DICE
