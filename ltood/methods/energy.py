"""Energy: free energy of the logits.

Source: Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection",
NeurIPS 2020 (arXiv:2010.03759), equation 4.
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.slots import Method
from ltood.ops.logits import check_temperature, energy


@dataclass(frozen=True)
class Config:
    """Settings of the energy score.

    Attributes:
        temperature: T of -T log sum exp(z / T). Unitless, above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the range."""
        check_temperature(self.temperature, "methods.energy.temperature")


class Energy(Method[Config]):
    """Scores rows by their free energy."""

    arrays: tuple[str, ...] = ("logits",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        return energy(batch.logits, self.config.temperature)


Entry = Energy
