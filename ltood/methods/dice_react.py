"""DICE with ReAct: clip the features, then keep only the head's largest contributions.

Source: Sun and Li, "DICE: Leveraging Sparsification for Out-of-Distribution Detection",
ECCV 2022 (arXiv:2111.09805), with the clip of Sun, Guo and Li, "ReAct", NeurIPS 2021
(arXiv:2111.12797). As in the authors' code the contributions come from the mean of the
unclipped features. They suggest percentile 10 to 15 with clip 1 to 1.5 on ImageNet.
Departure: the default clip is the 98th percentile of the training activations, because
a fixed one belongs to one network.

Formula:
    g = min(f, clip)
    keep w_cd where w_cd mean_d(f) > percentile of all C x D contributions, else 0
    score = S(W_kept g + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

import math
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
from ltood.ops.shaping import (
    CLIP_PERCENTILE,
    Clip,
    clip_above,
    clip_ceiling,
    contributing,
)
from ltood.ops.statistics import class_statistics


@dataclass(frozen=True)
class Config(Settings):
    """Settings of DICE with ReAct.

    Attributes:
        percentile: Percent of the head's weights to drop, 0 to 100.
        clip: Largest activation to let through, above 0; "auto" is `clip_percentile` of
            the training activations, null no clip.
        clip_percentile: Percentile that "auto" stands for, 0 to 100.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    percentile: Percent = 90.0
    clip: Clip = "auto"
    clip_percentile: Percent = CLIP_PERCENTILE
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class DICEReAct(Method[Config]):
    """Scores clipped rows by a sparse head; training rows give its mean and the clip."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the weights that contribute most on average and find the clip."""
        head = inputs.require_head()
        ceiling = clip_ceiling(self.config.clip, self.config.clip_percentile, inputs)
        mean = class_statistics(inputs).mean
        kept = contributing(head.weight, mean, self.config.percentile)
        self.weight_, self.bias_ = torch.where(kept, head.weight, 0.0), head.bias
        self.clip_ = torch.tensor(ceiling, dtype=torch.float32, device=head.weight.device)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        clipped = clip_above(batch.features, self.learned("clip_"))
        logits = linear(clipped, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)

    def derived(self) -> dict[str, float]:
        """The clip, where there is one."""
        clip = float(self.learned("clip_"))
        return {"clip": clip} if math.isfinite(clip) else {}


Entry = DICEReAct
