"""VRA: drop small activations, clip large ones and strengthen those between.

Source: Xu, Lian, Liu and Tao, "VRA: Variational Rectified Activation for Out-of-
distribution Detection", NeurIPS 2023 (arXiv:2302.11716), the piecewise form VRA and,
with `gamma`, VRA+. As in the authors' code for CIFAR, each feature has percentiles of its own;
the defaults are those of VRA on CIFAR-10. VRA+ has clip_percentile 95 and gamma 0.6 there, on
CIFAR-100 both have clip_percentile 95. On ImageNet the authors give numbers for all features:
with ResNet-50 floor 0.5 and clip 1, for VRA+ floor 0.6, clip 0.7 and gamma 0.3. `gamma` is off,
as it is in units of activations, which differ from network to network. With `scope: all`, a
departure, percentiles are of all training activations together; take clip_percentile 98 there
(see `ltood.ops.shaping`).

Formula:
    g_d = 0 where f_d < floor_d;  clip_d where f_d > clip_d;  else f_d + gamma
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
from ltood.ops.feature_percentiles import feature_percentiles
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import Clip
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
        scope: Whose percentiles "auto" takes: those of each feature, or of all together.
        gamma: Added to the activations between both, in their units; finite, 0 or more.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    floor: float | Literal["auto"] | None = "auto"
    floor_percentile: Percent = 60.0
    clip: Clip = "auto"
    clip_percentile: Percent = 90.0
    scope: Literal["feature", "all"] = "feature"
    gamma: NonNegative = 0.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


def rectify(features: Features, floor: Tensor, ceiling: Tensor, gamma: float) -> Features:
    """Features with 0 below `floor`, `ceiling` above it and `gamma` more between, [N, D].

    Args:
        features: [N, D].
        floor: Smallest activation that stays, 0-d or [D].
        ceiling: Largest activation that stays, 0-d or [D].
        gamma: What those between gain.
    """
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
        floor, ceiling = self._thresholds(inputs)
        crossed = floor > ceiling
        # A number for all features may lie on the wrong side of the percentiles of some.
        if crossed.all() if floor.ndim != ceiling.ndim else crossed.any():
            low, high = (float(row.expand_as(crossed)[crossed][0]) for row in (floor, ceiling))
            raise ConfigError(
                f"methods.vra has the floor {low:.6g} above the clip {high:.6g}; lower "
                "floor or floor_percentile, or raise clip or clip_percentile."
            )
        self.weight_, self.bias_ = head.weight, head.bias
        self.floor_, self.clip_ = floor.to(head.weight.device), ceiling.to(head.weight.device)
        return self

    def _thresholds(self, inputs: FitInputs) -> tuple[Tensor, Tensor]:
        """Floor and clip, 0-d or [D] float32 each."""
        config = self.config
        given = (
            -math.inf if config.floor is None else config.floor,
            math.inf if config.clip is None else config.clip,
        )
        percents = (config.floor_percentile, config.clip_percentile)
        wanted = tuple(p for value, p in zip(given, percents, strict=True) if value == "auto")
        found: dict[float, Tensor] = {}
        if wanted and config.scope == "feature":
            found = dict(zip(wanted, feature_percentiles(inputs, wanted), strict=True))
        elif wanted:
            whole = activations(inputs)
            found = {percent: torch.tensor(whole.percentile(percent)) for percent in wanted}
        floor, ceiling = (
            found[percent] if isinstance(value, str) else torch.tensor(value, dtype=torch.float32)
            for value, percent in zip(given, percents, strict=True)
        )
        return floor, ceiling

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        floor, ceiling = self.learned("floor_"), self.learned("clip_")
        rectified = rectify(batch.features, floor, ceiling, self.config.gamma)
        logits = linear(rectified, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)

    def derived(self) -> dict[str, float]:
        """Floor and clip, where there are any; means where each feature has its own."""
        found = {}
        for name in ("floor", "clip"):
            threshold = self.learned(f"{name}_")
            if bool(threshold.isfinite().all()):
                found[name if threshold.ndim == 0 else f"mean_{name}"] = float(threshold.mean())
        return found


Entry = VRA
