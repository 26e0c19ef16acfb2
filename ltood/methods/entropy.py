"""Entropy: Shannon entropy of the softmax.

Source: Chan, Rottmann and Gottschalk, "Entropy Maximization and Meta Classification for
Out-of-Distribution Detection in Semantic Segmentation", ICCV 2021 (arXiv:2012.06575),
equation 5, for whole images. Departure: not divided by log C, which ranks alike.

Formula:
    p = softmax(z / T)
    score = -sum_c p_c log p_c
"""

from dataclasses import dataclass

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method

#: Logit distance whose exponential is 0 in float32.
_FLOOR = -200.0


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the entropy.

    Attributes:
        temperature: Divides the logits before the softmax. Unitless, above 0.
    """

    temperature: Positive = 1.0


class Entropy(Method[Config]):
    """Scores rows by the entropy of their class probabilities."""

    arrays: tuple[str, ...] = ("logits",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in nats, 0 to log C; higher means more OOD."""
        scaled = batch.logits / self.config.temperature
        largest, index = scaled.max(dim=1, keepdim=True)
        # At the floor an odds ratio is 0 and an infinite distance would make it NaN.
        below = (scaled - largest).clamp_(min=_FLOOR)
        odds = below.exp()
        # The largest probability of most ID rows rounds to 1 in float32 and they would tie.
        # Its odds of 1 are therefore left out, and all terms have one sign: no digit is lost.
        rest = odds.scatter(1, index, 0.0).sum(dim=1)
        shortfall = -(odds * below).sum(dim=1)
        entropy: Scores = torch.log1p(rest) + shortfall / (1 + rest)
        return entropy


Entry = Entropy
