"""MSP: largest softmax probability, optionally with a temperature.

Source: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and
Out-of-Distribution Examples in Neural Networks", ICLR 2017 (arXiv:1610.02136). A
temperature above 1 gives the logit part of ODIN (Liang et al., ICLR 2018,
arXiv:1706.02690); its change of the input image needs the network.

Formula:
    score = -max_c softmax(z / T)_c
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import score_logits


@dataclass(frozen=True)
class Config(Settings):
    """Settings of MSP.

    Attributes:
        temperature: Divides the logits before the softmax. Unitless, above 0.
    """

    temperature: Positive = 1.0


class MSP(Method[Config]):
    """Scores rows by the negative of their largest softmax probability."""

    arrays: tuple[str, ...] = ("logits",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, -1/C]; higher means more OOD."""
        return score_logits(batch.logits, "msp", self.config.temperature)


Entry = MSP
