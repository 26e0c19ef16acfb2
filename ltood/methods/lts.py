"""LTS: multiply each row's logits by a factor of how flat its features are.

Source: Djurisic, Liu and Nikolic, "Logit Scaling for Out-of-Distribution Detection",
2024 (arXiv:2409.01175); the default leaves the top 5 percent. As in the authors' code,
activations below zero count as zero in the factor. Departure: activations
equal to the percentile all count as large instead of a fixed number of them.
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, check_scorer, check_temperature, score_logits
from ltood.ops.shaping import mass_ratio
from ltood.ops.statistics import check_percentile


@dataclass(frozen=True)
class Config:
    """Settings of LTS.

    Attributes:
        percentile: Percent of each row's activations that the lower sum of the factor
            leaves out, 0 to 100.
        scorer: What scores the scaled logits: energy, msp or maxlogit.
        temperature: Divides the scaled logits. Unitless, above 0.
    """

    percentile: float = 95.0
    scorer: Scorer = "energy"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_percentile(self.percentile, "methods.lts.percentile")
        check_scorer(self.scorer, "methods.lts.scorer")
        check_temperature(self.temperature, "methods.lts.temperature")


class LogitScaling(Method[Config]):
    """Scores rows by their logits times the squared mass ratio of their features."""

    arrays: tuple[str, ...] = ("features", "logits")

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        factor = mass_ratio(batch.features, self.config.percentile).square()
        scaled = batch.logits * factor[:, None]
        return score_logits(scaled, self.config.scorer, self.config.temperature)


Entry = LogitScaling
