"""MaxLogit: largest logit.

Source: Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt and Song, "Scaling
Out-of-Distribution Detection for Real-World Settings", ICML 2022 (arXiv:1911.11132).

Formula:
    score = -max_c z_c
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import score_logits


@dataclass(frozen=True)
class Config(Settings):
    """MaxLogit has no settings."""


class MaxLogit(Method[Config]):
    """Scores rows by the negative of their largest logit."""

    arrays: tuple[str, ...] = ("logits",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        return score_logits(batch.logits, "maxlogit")


Entry = MaxLogit
