"""NCI: closeness of the centred feature to the predicted class's weight, and its norm.

Source: Liu and Qin, "Detecting Out-of-Distribution through the Lens of Neural Collapse",
CVPR 2025 (arXiv:2311.01479); the formula is that of their postprocessor in OpenOOD: the
length of the projection of the class weight on the direction of the centred feature, plus
`alpha` times the L1 norm of the feature. Departure: a feature equal to the mean has no
direction and counts as orthogonal, where theirs divides zero by zero.

Formula:
    y = argmax z
    score = -(w_y . (f - m) / |f - m| + alpha sum_d |f_d|),  m mean of all training features
"""

from dataclasses import dataclass
from typing import Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.lengths import SMALLEST_LENGTH, lengths
from ltood.ops.statistics import class_statistics

#: Rows that stay in a processor's cache on their way through four sums.
BLOCK_ROWS = 128


@dataclass(frozen=True)
class Config(Settings):
    """Settings of NCI.

    Attributes:
        alpha: Factor of the L1 norm of the feature, 0 or more. OpenOOD takes 1e-4 and
            searches up to 0.1.
    """

    alpha: NonNegative = 1e-4


class NCI(Method[Config]):
    """Scores rows by how far their centred feature points away from its class weight."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the class weights and learn the mean of all training features."""
        self.weight_ = inputs.require_head().weight
        self.mean_ = class_statistics(inputs).mean.float()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of the head's weights; higher means more OOD."""
        weight, mean = self.learned("weight_"), self.learned("mean_")
        predicted = torch.split(batch.logits.argmax(dim=1), BLOCK_ROWS)
        scores = []
        for rows, classes in zip(torch.split(batch.features, BLOCK_ROWS), predicted, strict=True):
            centred = rows - mean
            products = torch.einsum("nd,nd->n", weight[classes], centred)
            closeness = products / lengths(centred).clamp(min=SMALLEST_LENGTH)
            norms = torch.linalg.vector_norm(rows, ord=1, dim=1)
            scores.append(-(closeness + self.config.alpha * norms))
        return torch.cat(scores)


Entry = NCI
