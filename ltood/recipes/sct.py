"""SCT: LoCoOp whose two losses are weighted by how sure the prompts are of each image.

Source: Yu, Zhu, Yao and Han, "Self-Calibrated Tuning of Vision-Language Models for
Out-of-Distribution Detection", NeurIPS 2024 (arXiv:2411.03359), section 3; defaults are those of
the official code (https://github.com/tmlr-group/SCT), which tries entropy weights of 0.2 to 0.4.
An image that is not yet classified well teaches its class, and one that is teaches by its patches
what shows no class.

Departures: those of the recipe locoop. As in the official code gradients flow through the weights
too; detach_weights takes these for constants. Score its features with mcm or gl_mcm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from ltood.core.limits import Limits
from ltood.recipes._irrelevant_patches import PatchConfig, PatchRecipe

ADAPTS_HEAD = True

#: Added to the weights by the official code, so that none is 0.
_MISS, _HIT = 1.0000001, 0.0000001


@dataclass(frozen=True)
class Config(PatchConfig):
    """Settings of SCT: those of LoCoOp, and the weights.

    Attributes:
        epochs: Passes over the rows; the last context is kept.
        weight_id: "miss" weighs the cross entropy of an image by 1 minus the probability of its
            class, "none" not at all.
        weight_ood: "hit" weighs the patches of an image by the probability of its class, "none"
            not at all; with both at "none" this is LoCoOp.
        detach_weights: Take the weights for constants, through which no gradient flows.
    """

    epochs: Annotated[int, Limits(at_least=1, at_most=100_000)] = 25
    weight_id: Literal["none", "miss"] = "miss"
    weight_ood: Literal["none", "hit"] = "hit"
    detach_weights: bool = False


class SCT(PatchRecipe):
    """Weighted cross entropy, minus the weighted entropy of patches that show no class."""

    config: Config

    def prompt_losses(
        self, logits: Tensor, local_logits: Tensor | None, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """The terms `cross_entropy` and `local_entropy`, in nats."""
        hit = softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        if self.config.detach_weights:
            hit = hit.detach()
        if self.config.weight_id == "none":
            own = cross_entropy(logits, labels)
        else:
            own = (cross_entropy(logits, labels, reduction="none") * (_MISS - hit)).mean()
        weights = None if self.config.weight_ood == "none" else _HIT + hit
        return {
            "cross_entropy": own,
            "local_entropy": self.patch_entropy(local_logits, labels, weights),
        }


Entry = SCT
