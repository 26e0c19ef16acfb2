"""MCM: maximum softmax of the cosines between an image and the class names.

Source: Ming, Cai, Gu, Sun, Li and Li, "Delving into Out-of-Distribution Detection with
Vision-Language Representations", NeurIPS 2022 (arXiv:2211.13445), equation 1. The cosines
come without CLIP's logit scale of about 100, and the temperature is 1, as published. The
head holds the text embeddings; with a trained head its class weights take their place.
Departure: float32, where some codes compare in half precision and rows tie.

Formula:
    score = -max_c softmax(cos(f, w) / T)_c
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.ops.cosines import global_confidence
from ltood.ops.text_methods import TextMethod


@dataclass(frozen=True)
class Config(Settings):
    """Settings of MCM.

    Attributes:
        temperature: Divides the cosines before the softmax. Unitless, above 0; 1 is
            published, while CLIP itself is trained with about 0.01.
        frozen_texts: Whether the softmax also runs over the frozen texts of a head that the recipe
            fa has learned, as published for it; other heads have none.
    """

    temperature: Positive = 1.0
    frozen_texts: bool = True


class MCM(TextMethod[Config]):
    """Scores rows by minus their largest softmax over class names."""

    arrays: tuple[str, ...] = ("features",)

    def _configure(self) -> None:
        """Say whether frozen texts count."""
        self.counts_frozen = self.config.frozen_texts

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 0); higher means more OOD, -1/C is undecided."""
        # The confidence grows with ID-ness; ours must grow with OOD-ness.
        directions, temperature = self.learned("directions_"), self.config.temperature
        return -global_confidence(batch, directions, temperature, self.frozen())


Entry = MCM
