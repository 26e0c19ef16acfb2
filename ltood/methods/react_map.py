"""ReAct before pooling: clip every place of the last feature map from above, then take the mean.

Source: Sun, Guo and Li, "ReAct: Out-of-distribution Detection With Rectified Activations", NeurIPS
2021 (arXiv:2111.12797). Extraction stores the last feature map, the extra array maps/features.

Departures: the authors' code clips the mean over places, as method react does; clipped before, one
bright place no longer makes a channel large. The clip is a percentile of the maps of held-out ID
rows, of training rows there are no maps, and by default the 98th, as that of react.

Formula:
    h = mean over places p of min(M_p, clip),  M_p [D] the features of a place
    score = S(W h + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import Features
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.ops.logits import Scorer
from ltood.ops.maps import MapMethod, map_percentile
from ltood.ops.shaping import CLIP_PERCENTILE, Clip, clip_above

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("maps",)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ReAct before pooling.

    Attributes:
        clip: Largest activation of a place to let through, above 0; "auto" is `percentile` of
            those of held-out rows, null no clip.
        percentile: Percentile that "auto" stands for, 0 to 100.
        scorer: What scores the clipped logits: energy, msp or maxlogit.
        temperature: Divides the clipped logits. Unitless, above 0.
    """

    clip: Clip = "auto"
    percentile: Percent = CLIP_PERCENTILE
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class ReActMap(MapMethod[Config]):
    """Scores rows after clipping their maps; held-out rows only set the clip."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.VAL})

    def _configure(self) -> None:
        """Take the settings; a given clip needs no held-out rows."""
        if self.config.clip != "auto":
            self.needs = frozenset({Need.HEAD})

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head and find the clip."""
        super()._fit(inputs)
        clip = self.config.clip
        if isinstance(clip, str):
            clip = map_percentile(inputs, self.config.percentile)
        ceiling = math.inf if clip is None else clip
        self.clip_ = torch.tensor(ceiling, dtype=torch.float32, device=self.weight_.device)
        return self

    def _pooled(self, maps: Tensor) -> Features:
        return clip_above(maps, self.learned("clip_")).mean(dim=1)

    def derived(self) -> dict[str, float]:
        """The clip, where there is one."""
        clip = float(self.learned("clip_"))
        return {"clip": clip} if math.isfinite(clip) else {}

    def learned_rows(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """All held-out rows where the clip is a percentile of theirs."""
        del labels
        return torch.full_like(ids, self.config.clip == "auto", dtype=torch.bool)


Entry = ReActMap
