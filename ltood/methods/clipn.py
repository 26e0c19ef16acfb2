"""CLIPN: probability that an image is not what its likeliest class names say.

Source: Wang, Li, Yao and Li, "CLIPN for Zero-Shot OOD Detection: Teaching CLIP to Say No", ICCV
2023 (arXiv:2308.12213; xmed-lab/CLIPN, MIT). A second text encoder is trained to read prompts
that deny the class; its text features are the head's `no_weight`, those of plain prompts its
`weight`. ltood scores such heads and does not train them.

Departure: the published FPR95 interpolates the ROC curve, which ltood does not do.

Formula:
    no_c = exp(cos(f, no_c) / T) / (exp(cos(f, yes_c) / T) + exp(cos(f, no_c) / T))
    ctw: score = no_c of the class c with the largest cos(f, yes_c)
    atd: score = sum_c no_c softmax(cos(f, yes) / T)_c
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import MissingNeedError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.cosines import class_directions, cosines
from ltood.ops.lengths import unit


@dataclass(frozen=True)
class Config(Settings):
    """Settings of CLIPN.

    Attributes:
        kind: "atd", agreeing to differ, weighs all classes by their probability and has the better
            published figures; "ctw", competing to win, asks the likeliest class alone.
        temperature: Divides the cosines. Unitless, above 0; 0.01 is CLIP's.
    """

    kind: Literal["atd", "ctw"] = "atd"
    temperature: Positive = 0.01


class CLIPN(Method[Config]):
    """Scores rows by how likely a "no" prompt is against the prompt of the same class."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.NO_HEAD})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of both prompts of every class."""
        no_weight = inputs.require_head().no_weight
        if no_weight is None:
            raise MissingNeedError(f"fit needs {Need.NO_HEAD.value}, which it was not given.")
        self.directions_ = class_directions(inputs)
        self.no_directions_ = unit(no_weight.float())
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [0, 1]; higher means more OOD."""
        temperature = self.config.temperature
        yes = cosines(batch.features, self.learned("directions_")) / temperature
        no = cosines(batch.features, self.learned("no_directions_")) / temperature
        denied = torch.sigmoid(no - yes)
        if self.config.kind == "ctw":
            return denied.gather(1, yes.argmax(dim=1, keepdim=True))[:, 0]
        return (denied * torch.softmax(yes, dim=1)).sum(dim=1)


Entry = CLIPN
