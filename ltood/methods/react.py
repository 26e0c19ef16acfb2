"""ReAct: score the logits of features clipped from above.

Source: Sun, Guo and Li, "ReAct: Out-of-distribution Detection With Rectified
Activations", NeurIPS 2021 (arXiv:2111.12797). Departure: the default clip is the 98th
percentile of the training activations, not the paper's 90th, which ruins the score on
networks with sparse activations (see `ltood.ops.shaping`).

Formula:
    score = S(W min(f, clip) + b)
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
from ltood.ops.shaping import CLIP_PERCENTILE, Clip, clip_above, clip_ceiling


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ReAct.

    Attributes:
        clip: Largest activation to let through, above 0; "auto" is `percentile` of the
            training activations, null no clip.
        percentile: Percentile that "auto" stands for, 0 to 100.
        scorer: What scores the clipped logits: energy, msp or maxlogit.
        temperature: Divides the clipped logits. Unitless, above 0.
    """

    clip: Clip = "auto"
    percentile: Percent = CLIP_PERCENTILE
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class ReAct(Method[Config]):
    """Scores rows after clipping their features; training rows only set the clip."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)

    def _configure(self) -> None:
        """Take the settings; a given clip needs no training rows."""
        if self.config.clip != "auto":
            self.needs = frozenset({Need.HEAD})

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head and find the clip."""
        head = inputs.require_head()
        ceiling = clip_ceiling(self.config.clip, self.config.percentile, inputs)
        self.weight_, self.bias_ = head.weight, head.bias
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


Entry = ReAct
