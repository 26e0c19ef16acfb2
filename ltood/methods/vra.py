"""VRA: drop small activations, clip large ones and strengthen those between.

Source: Xu, Lian, Liu and Tao, "VRA: Variational Rectified Activation for Out-of-
distribution Detection", NeurIPS 2023 (arXiv:2302.11716), the piecewise form VRA and,
with `gamma`, VRA+. For CIFAR the authors use percentiles 60 and 90 to 95 and a gamma of
0.6. Departures: thresholds are percentiles of all training activations together, not of
each feature, and the default clip is the 98th (see `ltood.ops.shaping`). `gamma` is off,
as it is in units of activations, which differ from network to network.

Formula:
    g_d = 0 where f_d < floor;  clip where f_d > clip;  else f_d + gamma
    score = S(W g + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative, Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import CLIP_PERCENTILE, Clip, clip_ceiling
from ltood.ops.statistics import activations


@dataclass(frozen=True)
class Config(Settings):
    """Settings of VRA.

    Attributes:
        floor: Smallest activation to let through, lower ones become 0; "auto" is
            `floor_percentile` of the training activations, null no floor. Finite.
        floor_percentile: Percentile that "auto" stands for, 0 to 100.
        clip: Largest activation to let through, above 0; "auto" is `clip_percentile` of
            the training activations, null no clip.
        clip_percentile: Percentile that "auto" stands for, 0 to 100.
        gamma: Added to the activations between both, in their units; finite, 0 or more.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    floor: float | Literal["auto"] | None = "auto"
    floor_percentile: Percent = 60.0
    clip: Clip = "auto"
    clip_percentile: Percent = CLIP_PERCENTILE
    gamma: NonNegative = 0.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


def rectify(features: Features, floor: Tensor, ceiling: Tensor, gamma: float) -> Features:
    """Features with 0 below `floor`, `ceiling` above it and `gamma` more between, [N, D]."""
    raised = torch.where(features > ceiling, ceiling, features + gamma)
    return torch.where(features < floor, 0.0, raised)


class VRA(Method[Config]):
    """Scores rows after rectifying their features; training rows only set the thresholds."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)

    def _configure(self) -> None:
        """Take the settings; given thresholds need no training rows."""
        if "auto" not in (self.config.floor, self.config.clip):
            self.needs = frozenset({Need.HEAD})

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head and find the thresholds.

        Raises:
            ConfigError: If the floor lies above the clip.
        """
        head = inputs.require_head()
        ceiling = clip_ceiling(self.config.clip, self.config.clip_percentile, inputs)
        floor = self._floor(inputs)
        if floor > ceiling:
            raise ConfigError(
                f"methods.vra has the floor {floor:.6g} above the clip {ceiling:.6g}; lower "
                "floor or floor_percentile, or raise clip or clip_percentile."
            )
        self.weight_, self.bias_ = head.weight, head.bias
        thresholds = torch.tensor([floor, ceiling], dtype=torch.float32)
        self.floor_, self.clip_ = thresholds.to(head.weight.device).unbind()
        return self

    def _floor(self, inputs: FitInputs) -> float:
        if self.config.floor is None:
            return -math.inf
        if isinstance(self.config.floor, str):
            return activations(inputs).percentile(self.config.floor_percentile)
        return self.config.floor

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        floor, ceiling = self.learned("floor_"), self.learned("clip_")
        rectified = rectify(batch.features, floor, ceiling, self.config.gamma)
        logits = linear(rectified, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)

    def derived(self) -> dict[str, float]:
        """Floor and clip, where there are any."""
        found = {"floor": float(self.learned("floor_")), "clip": float(self.learned("clip_"))}
        return {name: value for name, value in found.items() if math.isfinite(value)}


Entry = VRA
