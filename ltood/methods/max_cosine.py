"""Max cosine: largest cosine between a feature and a class direction.

Source: Techapanurak, Suganuma and Okatani, "Hyperparameter-Free Out-of-Distribution
Detection Using Cosine Similarity", ACCV 2020 (arXiv:1905.10628); with CLIP the variant of
MCM (NeurIPS 2022, arXiv:2211.13445) without a softmax. Departure: the cosines are taken
with the head as it is, where the first paper trains with a cosine head.

Formula:
    score = -max_c cos(f, w_c)
"""

from dataclasses import dataclass
from typing import Self

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.cosines import class_directions, cosines


@dataclass(frozen=True)
class Config(Settings):
    """Max cosine has no settings."""


class MaxCosine(Method[Config]):
    """Scores rows by minus their largest cosine with any class."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes."""
        self.directions_ = class_directions(inputs)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 1]; higher means more OOD."""
        # The cosine grows with ID-ness; ours must grow with OOD-ness.
        return -cosines(batch.features, self.learned("directions_")).amax(dim=1)


Entry = MaxCosine
