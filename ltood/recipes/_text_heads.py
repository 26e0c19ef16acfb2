"""Bases of recipes that make the head from text, by templates or by learned prompts."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from ltood.core.limits import Count, Decay, Limits, NonNegative, Positive
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.recipes._base import HeadRecipe


class TextHeadRecipe(HeadRecipe):
    """A recipe whose head is made of text embeddings.

    Attributes:
        class_names: File with a class name per line (or a WordNet id and a name, as CoOp's),
            "imagenet" for the names that open_clip brings along, or None for those of the store.
    """

    class_names: str | None


class TemplateRecipe(TextHeadRecipe):
    """A recipe whose head is the mean embedding of filled-in templates.

    Attributes:
        templates: Sentences with a place `{}` for the name, or ("imagenet",) for the 80 that
            open_clip brings along.
    """

    templates: tuple[str, ...]


@dataclass(frozen=True)
class PromptConfig(Settings):
    """Settings of prompt learning.

    Attributes:
        n_ctx: Context vectors of a prompt, 1 or more.
        ctx_init: Words whose embeddings the context starts from, in the place of random vectors;
            their number of tokens then stands for n_ctx.
        class_specific: Learn a context for every class.
        position: Where the class name stands among the context vectors.
        class_names: File with a class name per line (or a WordNet id and a name, as CoOp's),
            "imagenet" for the names that open_clip brings along; null takes those of the store.
        shots: Training rows of each class, drawn by the seed, or of the file `rows` those with
            so many shots; null takes all.
        rows: CSV file with the column id, and optionally seed and shots, of the training rows
            (`ltood data few-shot` writes one); null draws them.
        epochs: Passes over the rows; the last context is kept.
        batch_size: Rows of one step; the incomplete last batch of an epoch is dropped.
        learning_rate: Of SGD, after the warm-up, falling by a cosine.
        warmup_learning_rate: In the first epoch; null for no warm-up.
        schedule: Whether the cosine falls after every "epoch" or after every "step".
        momentum: Of SGD, 0 to below 1.
        weight_decay: L2 penalty, 0 or more.
        text_mode: "prefix" encodes what all prompts begin with once, "cut" omits what
            follows their end, "full" does neither. They agree to rounding.
    """

    n_ctx: Annotated[int, Limits(at_least=1, at_most=1000)] = 16
    ctx_init: str | None = None
    class_specific: bool = False
    position: Literal["end", "middle", "front"] = "end"
    class_names: str | None = None
    shots: Count | None = None
    rows: str | None = None
    epochs: Annotated[int, Limits(at_least=1, at_most=100_000)] = 50
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] = 32
    learning_rate: Positive = 0.002
    warmup_learning_rate: Positive | None = 1e-5
    schedule: Literal["epoch", "step"] = "epoch"
    momentum: Decay = 0.9
    weight_decay: NonNegative = 5e-4
    text_mode: Literal["prefix", "cut", "full"] = "prefix"

    def check(self) -> None:
        """Refuse an empty prompt."""
        if self.ctx_init is not None and not self.ctx_init.strip():
            raise self.fault(
                "ctx_init",
                f"is {self.ctx_init!r}; give words, such as 'a photo of a', or null for random "
                "vectors.",
            )


class PromptRecipe(TextHeadRecipe):
    """A recipe whose head is learned as context vectors of the prompts.

    Attributes:
        config: Settings of the learning.
        needs_local: Whether the losses look at local features.
        frozen_copies: How often the classes stand beside the learned ones with the text that the
            prompts start from; 0 for recipes without such texts. The head keeps them.
    """

    needs_local: bool = False
    frozen_copies: int = 0
    config: PromptConfig

    def __init__(self, config: PromptConfig, prior: ClassPrior) -> None:
        """Take settings and class counts."""
        super().__init__(prior)
        self.config = config
        self.class_names = config.class_names

    @property
    def derived(self) -> dict[str, float]:
        """Values derived from the data that a reader should see."""
        return {}

    @abstractmethod
    def prompt_losses(
        self, logits: Tensor, local_logits: Tensor | None, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """Loss terms of one step by name, each 0-d and already weighted.

        Args:
            logits: Scaled cosines of image and text, [B, C]; with `frozen_copies` [B, 2C], those of
                the frozen texts, once, after those of the learned ones.
            local_logits: The same for P patches, [B, P, C]; None where `needs_local` is False.
            labels: Classes, [B] int64.
        """


def prompt_learning_rate(epoch: int, config: PromptConfig, done: float = 0.0) -> float:
    """Learning rate of a step.

    The first epoch has the warm-up rate where there is one. The cosine starts after it and keeps
    its full length, so that the last epoch does not reach 0, as in the official code.

    Args:
        epoch: Epoch from 0.
        config: Rates, epochs and schedule.
        done: Share of the epoch's steps that are done; counts with the schedule "step".
    """
    if epoch == 0 and config.warmup_learning_rate is not None:
        return config.warmup_learning_rate
    passed = epoch - (config.warmup_learning_rate is not None)
    passed_now = passed + done if config.schedule == "step" else passed
    return config.learning_rate * (1 + math.cos(math.pi * passed_now / config.epochs)) / 2
