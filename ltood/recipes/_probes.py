"""Base of recipes that learn a linear head from stored features, without any text."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from ltood.core.limits import Count, Decay, Limits, NonNegative, Positive
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.recipes._base import HeadRecipe


@dataclass(frozen=True)
class ProbeConfig(Settings):
    """Settings of a linear head.

    Attributes:
        standardise: Learn from features with mean 0 and deviation 1 over the training rows; the
            head that is kept reads the features as they are stored.
        tau: Strength of logit adjustment by the shares of the classes among the rows: 1 makes a
            head for balanced test data of long-tailed rows, 0 shifts nothing.
        shots: Training rows of each class, drawn by the seed, or of the file `rows` those with
            so many shots; null takes all.
        rows: CSV file with the column id, and optionally seed and shots, of the training rows
            (`ltood data few-shot` writes one); null draws them.
        epochs: Passes over the rows; the last head is kept.
        batch_size: Rows of one step; the incomplete last batch of an epoch is dropped.
        learning_rate: Of SGD, falling by a cosine after every step.
        momentum: Of SGD, 0 to below 1.
        weight_decay: L2 penalty, 0 or more.
    """

    standardise: bool = False
    tau: NonNegative = 0.0
    shots: Count | None = None
    rows: str | None = None
    epochs: Annotated[int, Limits(at_least=1, at_most=100_000)] = 20
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] = 128
    learning_rate: Positive = 0.1
    momentum: Decay = 0.9
    weight_decay: NonNegative = 0.0


class ProbeRecipe(HeadRecipe):
    """A recipe whose head is a linear layer on stored features.

    Attributes:
        config: Settings of the learning.
    """

    config: ProbeConfig

    def __init__(self, config: ProbeConfig, prior: ClassPrior) -> None:
        """Take settings and class counts."""
        super().__init__(prior)
        self.config = config

    @abstractmethod
    def probe_losses(self, logits: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Loss terms of one step by name, each 0-d and already weighted.

        Args:
            logits: Of the present head, shifted as `tau` has it, [B, C].
            labels: Classes, [B] int64.
        """


def probe_learning_rate(done: float, config: ProbeConfig) -> float:
    """Learning rate when a share `done` of all steps is done, from 0 to below 1."""
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2
