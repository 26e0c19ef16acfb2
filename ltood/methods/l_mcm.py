"""L-MCM: maximum softmax of the cosines between any patch and the class names.

Source: Miyai, Yu, Irie and Aizawa, "GL-MCM: Global and Local Maximum Concept Matching for
Zero-Shot Out-of-Distribution Detection", IJCV 2025 (arXiv:2304.04521), the local part. The
softmax runs over the classes of each patch, the maximum over patches and classes; the
cosines come without CLIP's logit scale.

Formula:
    score = min over patches q of -max_c softmax(cos(q, w) / T)_c
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import Need
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.ops.cosines import local_confidence
from ltood.ops.text_methods import TextMethod


@dataclass(frozen=True)
class Config(Settings):
    """Settings of L-MCM.

    Attributes:
        temperature: Divides the cosines before the softmax. Unitless, above 0; 1 is
            published, while CLIP itself is trained with about 0.01.
        frozen_texts: Whether the softmax also runs over the frozen texts of a head that the recipe
            fa has learned, as published for it; other heads have none.
    """

    temperature: Positive = 1.0
    frozen_texts: bool = True


class LMCM(TextMethod[Config]):
    """Scores rows by minus the largest softmax over class names of any patch."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.LOCAL})
    arrays: tuple[str, ...] = ("local",)

    def _configure(self) -> None:
        """Say whether frozen texts count."""
        self.counts_frozen = self.config.frozen_texts

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 0); higher means more OOD, -1/C is undecided."""
        # The confidence grows with ID-ness; ours must grow with OOD-ness.
        directions, temperature = self.learned("directions_"), self.config.temperature
        return -local_confidence(batch, directions, temperature, self.frozen())


Entry = LMCM
