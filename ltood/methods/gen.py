"""GEN: generalised entropy of the largest class probabilities.

Source: Liu, Lochman and Zach, "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution
Detection", CVPR 2023, equation 4. Departure: computed from log probabilities, because a
power of 0.1 makes probabilities matter that float32 rounds to 0 or 1.

Formula:
    p = softmax(z), sorted from the largest
    score = sum over the first k of (p_i (1 - p_i))^gamma
"""

from dataclasses import dataclass
from typing import Annotated

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Count, Limits
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import generalised_entropy


@dataclass(frozen=True)
class Config(Settings):
    """Settings of GEN.

    Attributes:
        gamma: Power of p (1 - p), above 0 and below 1; the paper uses 0.1.
        k: Number of largest probabilities in the sum, 1 or more; where there are fewer
            classes, all are taken. The paper uses 100 of ImageNet's 1000.
    """

    gamma: Annotated[float, Limits(above=0, below=1)] = 0.1
    k: Count = 100


class GEN(Method[Config]):
    """Scores rows by the generalised entropy of their class probabilities."""

    arrays: tuple[str, ...] = ("logits",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, 0 to k; higher means more OOD."""
        return generalised_entropy(batch.logits, self.config.gamma, self.config.k)


Entry = GEN
