"""CoOp: learn the context of the prompts, from stored features of few images.

Source: Zhou, Yang, Loy and Liu, "Learning to Prompt for Vision-Language Models", IJCV 2022
(arXiv:2109.01134), section 3; defaults are those of LoCoOp's official code, which trains CoOp as
its baseline (NeurIPS 2023, arXiv:2306.01293).

Departures: the context is float32 where the official code takes float16; with ctx_init the
context may be class-specific, which the official code ignores, and has as many vectors as the
words have tokens. Score its features with mcm or gl_mcm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.recipes._text_heads import PromptConfig, PromptRecipe

ADAPTS_HEAD = True


@dataclass(frozen=True)
class Config(PromptConfig):
    """Settings of CoOp, all of them those of prompt learning."""


class CoOp(PromptRecipe):
    """Cross entropy of image and text."""

    def prompt_losses(
        self, logits: Tensor, local_logits: Tensor | None, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """The term `cross_entropy`, in nats."""
        return {"cross_entropy": cross_entropy(logits, labels)}


Entry = CoOp
