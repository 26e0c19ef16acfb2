"""CARef: L1 distance to the mean feature of the predicted class, relative to the feature's own.

Source: Ling, Chang, Zhao, Zhao, Chow and Deng, "CADRef: Robust Out-of-Distribution Detection via
Class-Aware Decoupled Relative Feature Leveraging", CVPR 2025 (arXiv:2503.00325); their code is
the repository LingAndZero/CADRef. Departure: the mean of a class that no training row is
predicted as, which is not a number there and common in long tails, is that of its labelled rows.

Formula:
    y = argmax z;  score = |f - m_y|_1 / |f|_1
    m_y mean of the training features that are predicted as y
"""

from dataclasses import dataclass
from typing import Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.lengths import SMALLEST_LENGTH
from ltood.ops.predicted import Means, class_means


@dataclass(frozen=True)
class Config(Settings):
    """Settings of CARef.

    Attributes:
        means: Training rows that make the mean of a class: those "predicted" as it, as the
            paper has it, or those with its "label". A class without such rows takes the others,
            one without any the mean of all rows.
    """

    means: Means = "predicted"


class CARef(Method[Config]):
    """Scores rows by their relative distance to the mean of the class they are predicted as.

    A feature that is all zero is divided by a tiny number, and so is far from every class.
    """

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("means_", 1)
    classes_axis: tuple[str, int] = ("means_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the class means."""
        self.means_ = class_means(inputs, self.config.means)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        features, means = batch.features, self.learned("means_")
        error = (features - means[batch.logits.argmax(dim=1)]).abs()
        # Sums of large activations may leave float32, their ratio does not.
        size = features.abs().sum(dim=1, dtype=torch.float64).clamp(min=SMALLEST_LENGTH)
        return (error.sum(dim=1, dtype=torch.float64) / size).float()


Entry = CARef
