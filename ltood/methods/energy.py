"""Energy: free energy of the logits.

Source: Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection",
NeurIPS 2020 (arXiv:2010.03759), equation 4.

Formula:
    score = -T log sum_c exp(z_c / T)
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import energy


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the energy score.

    Attributes:
        temperature: T of -T log sum exp(z / T). Unitless, above 0.
    """

    temperature: Positive = 1.0


class Energy(Method[Config]):
    """Scores rows by their free energy."""

    arrays: tuple[str, ...] = ("logits",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        return energy(batch.logits, self.config.temperature)


Entry = Energy
