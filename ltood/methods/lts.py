"""LTS: multiply each row's logits by a factor of how flat its features are.

Source: Djurisic, Liu and Nikolic, "Logit Scaling for Out-of-Distribution Detection",
2024 (arXiv:2409.01175); the default leaves the top 5 percent, as in all configurations of
the authors. As in their code, activations below zero count as zero in the factor, and the
number that the lower sum leaves out is D percentile / 100, rounded. Departure: one activation
stays in the lower sum at least.

Formula:
    r = sum of positive activations / sum of the D - round(D percentile / 100) largest
    score = S(r^2 z)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import mass_ratio


@dataclass(frozen=True)
class Config(Settings):
    """Settings of LTS.

    Attributes:
        percentile: Percent of each row's activations that the lower sum of the factor
            leaves out, 0 to 100.
        scorer: What scores the scaled logits: energy, msp or maxlogit.
        temperature: Divides the scaled logits. Unitless, above 0.
    """

    percentile: Percent = 95.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class LTS(Method[Config]):
    """Scores rows by their logits times the squared mass ratio of their features."""

    arrays: tuple[str, ...] = ("features", "logits")

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        factor = mass_ratio(batch.features, self.config.percentile).square()
        scaled = batch.logits * factor[:, None]
        return score_logits(scaled, self.config.scorer, self.config.temperature)


Entry = LTS
