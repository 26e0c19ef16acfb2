"""No normalisation: scores stay as they are."""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.slots import Normaliser


@dataclass(frozen=True)
class Config:
    """No settings."""


class NoNormalisation(Normaliser):
    """Hands scores on."""

    def __init__(self, config: Config | None = None, *, base: str) -> None:
        """Take the (empty) settings; every method `base` is welcome."""
        self.config = config or Config()
        self.base = base

    def normalise(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """The same tensor, [N]; higher means more OOD."""
        del batch
        return scores


Entry = NoNormalisation
