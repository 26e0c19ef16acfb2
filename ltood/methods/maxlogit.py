"""MaxLogit: largest logit.

Source: Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song, "Scaling
Out-of-Distribution Detection for Real-World Settings", ICML 2022 (arXiv:1911.11132).
"""

from dataclasses import dataclass
from typing import ClassVar

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.slots import Detector
from ltood.ops.logits import score_logits


@dataclass(frozen=True)
class Config:
    """MaxLogit has no settings."""


class MaxLogit(Detector):
    """Scores rows by the negative of their largest logit."""

    arrays: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, config: Config | None = None) -> None:
        """Take the (empty) settings; there is nothing to fit."""
        self.config = config or Config()

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        return score_logits(batch.logits, "maxlogit")


Entry = MaxLogit
