"""FA: learn a prompt that beats several copies of the prompt it started from.

Source: Lu, Lai, Wu, Chen, Zheng and Wang, "FA: Forced Prompt Learning of Vision-Language Models
for Out-of-Distribution Detection", ICCV 2025 (arXiv:2507.04511); defaults are those of the
official code (https://github.com/0xFAFA/FA).
The learned text of the class must win against all classes' learned texts and K copies of their
frozen ones, "a photo of a cat."; so it must describe more than the name says. K copies of a text
are log K more on its logit, and are computed once.

Departures: those of the recipe coop. The official code augments images in a way of its own (crops
of 0.8 to 1 of the area, flips both ways, turns, colours), here the stored views count; it keeps the
incomplete last batch of an epoch. The head keeps learned and frozen texts, and mcm, gl_mcm and
l_mcm count both as published; all other methods, and the prediction, see the learned ones alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.core.limits import Limits, Positive
from ltood.core.prior import ClassPrior
from ltood.recipes._text_heads import PromptConfig, PromptRecipe

ADAPTS_HEAD = True


@dataclass(frozen=True)
class Config(PromptConfig):
    """Settings of FA, in addition to those of prompt learning.

    Attributes:
        ctx_init: Words whose embeddings the context starts from, and which stay as they are in the
            frozen texts; null for random vectors, without copies alone.
        batch_size: Rows of one step; the incomplete last batch of an epoch is dropped.
        warmup_learning_rate: In the first epoch; null for no warm-up.
        schedule: Whether the cosine falls after every "epoch" or after every "step".
        copies: K, copies of the frozen texts; 2 to 4 are published, 0 is CoOp.
    """

    ctx_init: str | None = "a photo of a"
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] = 160
    warmup_learning_rate: Positive | None = None
    schedule: Literal["epoch", "step"] = "step"
    copies: Annotated[int, Limits(at_least=0, at_most=1000)] = 3

    def check(self) -> None:
        """Refuse frozen texts without words."""
        super().check()
        if self.copies and self.ctx_init is None:
            raise self.fault(
                "ctx_init",
                f"is null, but {self.copies} copies of the frozen texts need words; give some, "
                "such as 'a photo of a', or set copies to 0.",
            )


class FA(PromptRecipe):
    """Cross entropy over the learned texts and K copies of the frozen ones."""

    config: Config

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts."""
        super().__init__(config, prior)
        self.frozen_copies = config.copies

    def prompt_losses(
        self, logits: Tensor, local_logits: Tensor | None, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """The term `cross_entropy`, in nats."""
        if self.frozen_copies:
            learned, frozen = logits.chunk(2, dim=1)
            logits = torch.cat([learned, frozen + math.log(self.frozen_copies)], dim=1)
        return {"cross_entropy": cross_entropy(logits, labels)}


Entry = FA
