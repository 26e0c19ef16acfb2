"""GL-MCM: MCM of the whole image plus that of its best patch.

Source: Miyai, Yu, Irie and Aizawa, "GL-MCM: Global and Local Maximum Concept Matching for
Zero-Shot Out-of-Distribution Detection", IJCV 2025 (arXiv:2304.04521); it is also the score
of LoCoOp (NeurIPS 2023, arXiv:2306.01293). The cosines come without CLIP's logit scale.
Departure: float32, where the code of LoCoOp compares in half precision and rows tie.

Formula:
    score = mcm(f) + local_weight * min over patches q of mcm(q)
    mcm(x) = -max_c softmax(cos(x, w) / T)_c
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import Need
from ltood.core.limits import NonNegative, Positive
from ltood.core.settings import Settings
from ltood.ops.cosines import global_confidence, local_confidence
from ltood.ops.text_methods import TextMethod


@dataclass(frozen=True)
class Config(Settings):
    """Settings of GL-MCM.

    Attributes:
        temperature: Divides the cosines before the softmax. Unitless, above 0; 1 is
            published, while CLIP itself is trained with about 0.01.
        local_weight: Weight of the local part, 0 or more; LoCoOp uses 1, the journal's script for
            ImageNet 0.5.
        frozen_texts: Whether the softmax also runs over the frozen texts of a head that the recipe
            fa has learned, as published for it; other heads have none.
    """

    temperature: Positive = 1.0
    local_weight: NonNegative = 1.0
    frozen_texts: bool = True


class GLMCM(TextMethod[Config]):
    """Scores rows by minus the sum of global and weighted local confidence."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.LOCAL})
    arrays: tuple[str, ...] = ("features", "local")

    def _configure(self) -> None:
        """Say whether frozen texts count."""
        self.counts_frozen = self.config.frozen_texts

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1 - local_weight, 0]; higher means more OOD."""
        directions, temperature = self.learned("directions_"), self.config.temperature
        confidence = global_confidence(batch, directions, temperature, self.frozen())
        # The confidences grow with ID-ness; ours must grow with OOD-ness.
        local = local_confidence(batch, directions, temperature, self.frozen())
        return -(confidence + self.config.local_weight * local)


Entry = GLMCM
