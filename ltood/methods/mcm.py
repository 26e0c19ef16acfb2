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
from typing import Self

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.cosines import class_directions, global_confidence


@dataclass(frozen=True)
class Config(Settings):
    """Settings of MCM.

    Attributes:
        temperature: Divides the cosines before the softmax. Unitless, above 0; 1 is
            published, while CLIP itself is trained with about 0.01.
    """

    temperature: Positive = 1.0


class MCM(Method[Config]):
    """Scores rows by minus their largest softmax over class names."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes."""
        self.directions_ = class_directions(inputs)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, -1/C]; higher means more OOD."""
        # The confidence grows with ID-ness; ours must grow with OOD-ness.
        return -global_confidence(batch, self.learned("directions_"), self.config.temperature)


Entry = MCM
