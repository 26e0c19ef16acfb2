"""LoCoOp: learn the context of the prompts, and unlearn it on patches that show something else.

Source: Miyai, Yu, Irie and Aizawa, "LoCoOp: Few-Shot Out-of-Distribution Detection via Prompt
Learning", NeurIPS 2023 (arXiv:2306.01293), section 3; defaults are those of the official code.

Departures: those of the recipe coop; an entropy_weight of 0, which the official code refuses, is
CoOp. Score its features with mcm or gl_mcm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.recipes._irrelevant_patches import PatchConfig, PatchRecipe

ADAPTS_HEAD = True


@dataclass(frozen=True)
class Config(PatchConfig):
    """Settings of LoCoOp: those of prompt learning and of the entropy on patches."""


class LoCoOp(PatchRecipe):
    """Cross entropy of image and text, minus the entropy of patches that show no class."""

    def prompt_losses(
        self, logits: Tensor, local_logits: Tensor | None, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """The terms `cross_entropy` and `local_entropy`, in nats."""
        return {
            "cross_entropy": cross_entropy(logits, labels),
            "local_entropy": self.patch_entropy(local_logits, labels),
        }


Entry = LoCoOp
