"""No normalisation: scores stay as they are."""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.settings import Settings
from ltood.core.slots import Normaliser


@dataclass(frozen=True)
class Config(Settings):
    """No settings."""


class NoNormalisation(Normaliser[Config]):
    """Hands scores on."""

    def _normalise(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """The same tensor, [N]; higher means more OOD."""
        del batch
        return scores


Entry = NoNormalisation
