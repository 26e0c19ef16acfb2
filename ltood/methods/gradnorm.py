"""GradNorm: how small the gradient is that pulls the softmax towards uniform.

Source: Huang, Geng and Li, "On the Importance of Gradients for Detecting Distributional
Shifts in the Wild", NeurIPS 2021 (arXiv:2110.00218), equation 7. The norm is that of the
last layer's weight, in closed form. Departure: the target is the uniform distribution
1/C of the paper; the authors' code takes one per class, which makes the norm C times
larger and ranks rows alike.

Formula:
    p = softmax(z / T)
    score = -sum_c |p_c - 1/C| * sum_d |f_d| / T
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.gradients import gradient_norm


@dataclass(frozen=True)
class Config(Settings):
    """Settings of GradNorm.

    Attributes:
        temperature: Divides the logits before the softmax. Unitless, above 0.
    """

    temperature: Positive = 1.0


class GradNorm(Method[Config]):
    """Scores rows by minus the L1 norm of the last layer's gradient."""

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at most 0, in units of features; higher means more OOD."""
        logits = batch.logits
        norm = gradient_norm(batch.features, logits, 1 / logits.shape[1], self.config.temperature)
        # The norm grows with ID-ness; ours must grow with OOD-ness.
        return -norm


Entry = GradNorm
