"""Base of recipes that learn prompts and unlearn them on patches that leave the label out."""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ltood.core.limits import Count, NonNegative
from ltood.core.prior import ClassPrior
from ltood.losses.local_entropy import local_entropy_loss
from ltood.recipes._text_heads import PromptConfig, PromptRecipe

#: 200 of 1,000 classes, and what the authors of LoCoOp advise for 100.
_SHARE = 0.2


@dataclass(frozen=True)
class PatchConfig(PromptConfig):
    """Settings of the entropy on patches, in addition to those of prompt learning.

    Attributes:
        entropy_weight: Lambda, of the entropy on patches that leave the label out, 0 or more.
        topk: A patch is irrelevant if its label is not among its K likeliest classes; "auto" is a
            fifth of the classes, 200 for ImageNet.
    """

    entropy_weight: NonNegative = 0.25
    topk: Count | Literal["auto"] = "auto"


class PatchRecipe(PromptRecipe):
    """A recipe that reads local features unless the entropy has no weight."""

    config: PatchConfig

    def __init__(self, config: PatchConfig, prior: ClassPrior) -> None:
        """Take settings and class counts; warns where no patch can leave the label out."""
        super().__init__(config, prior)
        self.needs_local = config.entropy_weight > 0
        chosen, num = config.topk, prior.num_classes
        self.topk = max(1, round(_SHARE * num)) if chosen == "auto" else chosen
        if self.needs_local and self.topk >= num:
            warnings.warn(
                f"{config.section}.topk is {self.topk} of {num} classes, so no patch is "
                "irrelevant and the entropy is always 0; set it lower, or choose the recipe coop",
                stacklevel=2,
            )

    @property
    def derived(self) -> dict[str, float]:
        """The K that is used."""
        return {"topk": float(self.topk)}

    def patch_entropy(
        self, local_logits: Tensor | None, labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Weighted minus entropy of the irrelevant patches, 0-d; 0 where there are no patches.

        Args:
            local_logits: Scaled cosines of patches and text, [B, P, C], or None.
            labels: Classes, [B] int64.
            weights: Weight of each image's patches, [B]; None weighs all alike.
        """
        if local_logits is None:
            return self.config.entropy_weight * torch.zeros((), device=labels.device)
        entropy = local_entropy_loss(local_logits, labels, topk=self.topk, weights=weights)
        return self.config.entropy_weight * entropy
