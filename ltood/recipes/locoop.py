"""LoCoOp: learn the context of the prompts, and unlearn it on patches that show something else.

Source: Miyai, Yu, Irie and Aizawa, "LoCoOp: Few-Shot Out-of-Distribution Detection via Prompt
Learning", NeurIPS 2023 (arXiv:2306.01293), section 3; defaults are those of the official code.

Departures: those of the recipe coop; an entropy_weight of 0, which the official code refuses, is
CoOp. Score its features with mcm or gl_mcm.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.core.limits import Count, NonNegative
from ltood.core.prior import ClassPrior
from ltood.losses.local_entropy import local_entropy_loss
from ltood.recipes._text_heads import PromptConfig, PromptRecipe

ADAPTS_HEAD = True
#: 200 of 1,000 classes, and what the authors advise for 100.
_SHARE = 0.2


@dataclass(frozen=True)
class Config(PromptConfig):
    """Settings of LoCoOp, in addition to those of prompt learning.

    Attributes:
        entropy_weight: Lambda, of the entropy on patches that leave the label out, 0 or more.
        topk: A patch is irrelevant if its label is not among its K likeliest classes; "auto" is a
            fifth of the classes, 200 for ImageNet.
    """

    entropy_weight: NonNegative = 0.25
    topk: Count | Literal["auto"] = "auto"


class LoCoOp(PromptRecipe):
    """Cross entropy of image and text, minus the entropy of patches that show no class."""

    config: Config

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts; warns where no patch can leave the label out."""
        super().__init__(config, prior)
        self.needs_local = config.entropy_weight > 0
        chosen, num = config.topk, prior.num_classes
        self.topk = max(1, round(_SHARE * num)) if chosen == "auto" else chosen
        if self.needs_local and self.topk >= num:
            warnings.warn(
                f"recipes.locoop.topk is {self.topk} of {num} classes, so no patch is "
                "irrelevant and the entropy is always 0; set it lower, or choose the recipe coop",
                stacklevel=2,
            )

    @property
    def derived(self) -> dict[str, float]:
        """The K that is used."""
        return {"topk": float(self.topk)}

    def prompt_losses(
        self, logits: Tensor, local_logits: Tensor | None, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """The terms `cross_entropy` and `local_entropy`, in nats."""
        entropy = torch.zeros((), device=logits.device)
        if local_logits is not None:
            entropy = local_entropy_loss(local_logits, labels, topk=self.topk)
        return {
            "cross_entropy": cross_entropy(logits, labels),
            "local_entropy": self.config.entropy_weight * entropy,
        }


Entry = LoCoOp
