"""L-MCM: maximum softmax of the cosines between any patch and the class names.

Source: Miyai, Yu, Irie and Aizawa, "GL-MCM: Global and Local Maximum Concept Matching for
Zero-Shot Out-of-Distribution Detection", IJCV 2025 (arXiv:2304.04521), the local part. The
softmax runs over the classes of each patch, the maximum over patches and classes; the
cosines come without CLIP's logit scale.

Formula:
    score = min over patches q of -max_c softmax(cos(q, w) / T)_c
"""

from dataclasses import dataclass
from typing import Self

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.cosines import class_directions, local_confidence


@dataclass(frozen=True)
class Config(Settings):
    """Settings of L-MCM.

    Attributes:
        temperature: Divides the cosines before the softmax. Unitless, above 0; 1 is
            published, while CLIP itself is trained with about 0.01.
    """

    temperature: Positive = 1.0


class LMCM(Method[Config]):
    """Scores rows by minus the largest softmax over class names of any patch."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.LOCAL})
    arrays: tuple[str, ...] = ("local",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes."""
        self.directions_ = class_directions(inputs)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, -1/C]; higher means more OOD."""
        # The confidence grows with ID-ness; ours must grow with OOD-ness.
        return -local_confidence(batch, self.learned("directions_"), self.config.temperature)


Entry = LMCM
