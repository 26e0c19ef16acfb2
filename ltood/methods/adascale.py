"""AdaSCALE: SCALE whose percentile follows from how a row's largest activations shift.

Source: Regmi, "AdaSCALE: Adaptive Scaling for OOD Detection", 2025 (arXiv:2503.08023); code in
OpenOOD, https://github.com/Jingkang50/OpenOOD. Extraction moves the images: it computes the extra
array adascale/features with extraction.adascale_share and extraction.adascale_step, for val,
test and OOD sets alone. The percentiles are those that won 36 trials on ImageNet with ResNet-50,
judged on OOD images.

Departures from the code: the distribution of shifts is that of all held-out rows, not of an
unseeded draw; of few features at least one counts as largest; features stay as they are, which
that code changes in place; the scale exp(r) is limited so that logits stay finite.

Formula:
    shift(x) = sum over the k1 % largest f_i of relu(f'_i)
        + weight * sum over the k2 % largest f_i of |f_i - f'_i|,  f' of the moved image
    p = lowest + (highest - lowest) * share of held-out rows with a larger shift
    r = sum_i relu(f_i) / sum of the largest D - round(D p / 100) of relu(f_i)
    score = -log sum_c exp((W (f e^r) + b)_c) for a, -log sum_c exp(r^2 z_c) for l
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Limits, NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import energy
from ltood.ops.shaping import LARGEST_EXPONENT

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("adascale",)

#: Percent that is neither none nor all.
Part = Annotated[float, Limits(above=0, below=100)]


@dataclass(frozen=True)
class Config(Settings):
    """Settings of AdaSCALE.

    Attributes:
        kind: "a" scales features as SCALE does, "l" scales logits.
        lowest: Percentile of the rows that shift most; percent of activations that the lower sum
            leaves out.
        highest: Percentile of the rows that shift least; `lowest` or more.
        largest: k1, percent of the features whose moved values count.
        top: k2, percent of the features whose shift counts.
        weight: Weight of the shift.
    """

    kind: Literal["a", "l"] = "a"
    lowest: Part = 80.0
    highest: Part = 85.0
    largest: Part = 5.0
    top: Part = 1.0
    weight: NonNegative = 10.0

    def check(self) -> None:
        """Refuse percentiles in the wrong order."""
        if self.highest < self.lowest:
            raise self.fault(
                "highest", f"is {self.highest}; it must be at least lowest, {self.lowest}."
            )


class AdaSCALE(Method[Config]):
    """Scores rows after scaling them by a percentile of their own."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.VAL})
    arrays: tuple[str, ...] = ("features", "adascale/features")

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head, and the shifts of held-out rows in order."""
        head = inputs.require_head()
        held_out = inputs.require_val().batches(arrays=self.arrays)
        self.shifts_ = torch.cat([self._shift(batch) for batch in held_out]).sort().values
        self.weight_, self.bias_ = head.weight, head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        weight, bias = self.learned("weight_"), self.learned("bias_")
        ratio = mass_ratios(batch.features, self._percentiles(batch))
        if self.config.kind == "l":
            logits = ratio.square()[:, None] * linear(batch.features, weight, bias)
        else:
            scale = ratio.clamp(max=LARGEST_EXPONENT).exp()[:, None]
            logits = linear(batch.features * scale, weight, bias)
        return energy(logits)

    def _percentiles(self, batch: FeatureBatch) -> Tensor:
        """Percentile of each row, [N] float64; lower for rows that shift more."""
        shifts = self.learned("shifts_")
        below = torch.searchsorted(shifts, self._shift(batch), right=True).double() / len(shifts)
        config = self.config
        return config.lowest + (1 - below) * (config.highest - config.lowest)

    def _shift(self, batch: FeatureBatch) -> Tensor:
        """How much the largest activations of each row shift, with the correction term, [N]."""
        features, moved = batch.features, batch.extra("adascale/features")
        width = features.shape[1]
        many, few = (
            max(1, int(width * percent / 100)) for percent in (self.config.largest, self.config.top)
        )
        order = features.topk(max(many, few), dim=1).indices
        kept = moved.gather(1, order[:, :many]).clamp(min=0).sum(dim=1)
        shift = (features - moved).gather(1, order[:, :few]).abs().sum(dim=1)
        return kept + self.config.weight * shift

    def learned_rows(self, ids: Tensor, labels: Tensor) -> Tensor:
        """All held-out rows: each of their shifts is part of the distribution."""
        del labels
        return torch.ones_like(ids, dtype=torch.bool)


def mass_ratios(features: Features, percentiles: Tensor) -> Tensor:
    """Sum of the activations of each row over the sum of its largest ones, [N], 1 or more.

    Args:
        features: [N, D]; negative ones count as 0.
        percentiles: Percent of each row's activations that the lower sum leaves out, [N].
    """
    positive = features.clamp(min=0)
    width = features.shape[1]
    # Divided by its maximum first, so that no row is too large or small for float32.
    largest = positive.amax(dim=1, keepdim=True)
    unit = positive / torch.where(largest == 0, 1.0, largest)
    num_kept = (width - (width * percentiles / 100).round().long()).clamp(min=1)
    sums = unit.sort(dim=1, descending=True).values.cumsum(dim=1)
    kept = sums.gather(1, num_kept[:, None] - 1)[:, 0]
    return torch.where(kept > 0, sums[:, -1] / torch.where(kept > 0, kept, 1.0), 1.0)


Entry = AdaSCALE
