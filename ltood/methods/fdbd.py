"""fDBD: mean distance to the decision boundaries, relative to the distance to the mean.

Source: Liu and Qin, "Fast Decision Boundary based Out-of-Distribution Detector", ICML 2024
(arXiv:2312.11536); `centre` is the switch of their postprocessor in
OpenOOD. Departures: OpenOOD adds distances up where the paper averages, which changes no
order; classes with the same weights have no boundary between them and are left out, where
both divide by zero.

Formula:
    y = argmax z
    score = -mean over c with w_c != w_y of (z_y - z_c) / |w_y - w_c|, divided by |f - m|
    m mean of all training features, or 0 without centre
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.distances import pair_distances
from ltood.ops.lengths import lengths
from ltood.ops.statistics import WIDE_ROWS, class_statistics

#: Weights closer together than this share of the largest weight norm count as equal: their
#: difference holds nothing but the rounding of float32.
RELATIVE_FLOOR = 1e-6

#: Classes whose distances to all others are taken at once.
GAP_ROWS = 1024

#: Smallest divisor, that of torch's own normalize: a feature at the very centre is as far
#: from every boundary as can be, and its score finite.
SMALLEST_SPREAD = 1e-12


@dataclass(frozen=True)
class Config(Settings):
    """Settings of fDBD.

    Attributes:
        centre: Divide by the distance to the mean of the training features, as in the
            paper; false divides by the norm of the feature and needs no training rows.
    """

    centre: bool = True


class FDBD(Method[Config]):
    """Scores rows by the negative of their relative distance to the decision boundaries."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("centre_", 0)
    classes_axis: tuple[str, int] = ("inverse_gaps_", 0)

    def _configure(self) -> None:
        """Take the settings; without a centre no training rows are needed."""
        if not self.config.centre:
            self.needs = frozenset({Need.HEAD})

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn what logit differences are worth as distances, and the training mean."""
        weight = inputs.require_head().weight
        self.inverse_gaps_ = inverse_gaps(weight)
        if self.config.centre:
            self.centre_ = class_statistics(inputs).mean.float()
        else:
            self.centre_ = torch.zeros_like(weight[0])
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at most 0, without unit; higher means more OOD."""
        inverse_gaps, centre = self.learned("inverse_gaps_"), self.learned("centre_")
        num_boundaries = (inverse_gaps > 0).sum(dim=1).clamp(min=1)
        logits = torch.split(batch.logits, WIDE_ROWS)
        scores = []
        # Blocks of rows stay in a processor's cache.
        for rows, outputs in zip(torch.split(batch.features, WIDE_ROWS), logits, strict=True):
            top, predicted = outputs.max(dim=1)
            distances = ((top[:, None] - outputs) * inverse_gaps[predicted]).sum(dim=1)
            spread = lengths(rows - centre).clamp(min=SMALLEST_SPREAD)
            scores.append(-(distances / num_boundaries[predicted] / spread))
        return torch.cat(scores)


def inverse_gaps(weight: Tensor) -> Tensor:
    """One over the distance between each two rows of `weight`, [C, C] float32.

    Zero on the diagonal and between equal rows, where there is no boundary.

    Args:
        weight: Class weights, [C, D].
    """
    wide = weight.double()
    largest = torch.linalg.vector_norm(wide, dim=1).amax()
    inverse = weight.new_empty((len(weight), len(weight)))
    # Blocks of rows, so that of the classes' square there is no float64 copy.
    blocks = zip(torch.split(wide, GAP_ROWS), torch.split(inverse, GAP_ROWS), strict=True)
    for rows, own in blocks:
        gaps = pair_distances(rows, wide)
        own.copy_(torch.where(gaps > RELATIVE_FLOOR * largest, 1 / gaps, 0.0))
    return inverse


Entry = FDBD
