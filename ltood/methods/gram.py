"""Gram matrices: how far correlations of channels leave the range of the predicted class.

Source: Sastry and Oore, "Detecting Out-of-Distribution Examples with Gram Matrices", ICML 2020
(arXiv:1912.12510); code https://github.com/VectorInstitute/gram-ood-detection. Extraction computes
the extra array gram/sums for the layers that extraction.layers names and the orders in
extraction.gram_orders; as in that code, rows of a Gram matrix are summed before the root is taken.

Departures: the unit of each layer comes from held-out rows, where the code draws a tenth of the
test images; layers are the stages of the network unless others are named, where the code takes
the outputs of nearly all its modules; limits within 1e-6 of 0 count as 1e-6, to which the code
adds 1e-6 with its sign and may divide by 0; a class that no training row is predicted as takes the
range of all training rows.

Formula:
    dev_l(x) = sum over orders and channels of relu(min_c - g) / |min_c| + relu(g - max_c) / |max_c|
    score = sum over l of dev_l(x) / (p_c(x) mean over val of dev_l / p),  c the predicted class
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.crew import Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("gram",)

_SUMS = "gram/sums"
#: Limits nearer to 0 cannot serve as a unit.
_SMALLEST = 1e-6
#: Added to the mean deviation of a layer, as in the authors' code.
_UNIT = 1e-7
#: Numbers of gram/sums that are compared at once (32 MiB in float64).
_BLOCK_VALUES = 2**22


@dataclass(frozen=True)
class Config(Settings):
    """Gram matrices have no settings of their own; layers and orders are extraction's."""


class Gram(Method[Config]):
    """Scores rows by the deviation of their row sums from the range of their class."""

    needs: frozenset[Need] = frozenset({Need.TRAIN, Need.VAL})
    arrays: tuple[str, ...] = ("logits", _SUMS)
    classes_axis: tuple[str, int] = ("lowest_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the range of each predicted class, then the mean deviation of each layer.

        Raises:
            DataError: If there are no rows, or the array has another form.
        """
        self.lowest_, self.highest_ = self._ranges(inputs)
        held_out = inputs.require_val()

        def of_own() -> Seen:
            batches = inputs.crew.batches(held_out, self.arrays)
            sums = [self._deviations(batch).sum(dim=0) for batch in batches]
            return (torch.stack(sums).sum(dim=0),) if sums else None

        seen = inputs.crew.summed(of_own)
        if seen is None:
            raise DataError("the held-out split has no rows; a method cannot learn from it.")
        self.unit_ = seen[0] / len(held_out) + _UNIT
        return self

    def _ranges(self, inputs: FitInputs) -> tuple[Tensor, Tensor]:
        """Smallest and largest row sums of each predicted class, each [C, L, P, W]."""
        seen = inputs.crew.joined(lambda: self._own_ranges(inputs))
        if seen is None:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        lowest, highest = seen[0].amin(dim=0), seen[1].amax(dim=0)
        absent = torch.isinf(lowest)
        return (
            torch.where(absent, lowest.amin(dim=0), lowest),
            torch.where(absent, highest.amax(dim=0), highest),
        )

    def _own_ranges(self, inputs: FitInputs) -> Seen:
        """The same of the rows that this process reads, infinite without a row, [1, C, ...]."""
        lowest: Tensor | None = None
        highest: Tensor | None = None
        for batch in inputs.crew.batches(inputs.require_train(), self.arrays):
            if batch.extra(_SUMS).ndim != 4:
                raise DataError(
                    f"{_SUMS} have the shape {list(batch.extra(_SUMS).shape)}; they must be "
                    "[N, layers, orders, channels]."
                )
            for logits, sums in _blocks(batch):
                if lowest is None or highest is None:
                    shape = (logits.shape[1], *sums.shape[1:])
                    lowest, highest = (sums.new_full(shape, torch.inf * s) for s in (1, -1))
                places = logits.argmax(dim=1).view(-1, 1, 1, 1).expand_as(sums)
                lowest.scatter_reduce_(0, places, sums, "amin")
                highest.scatter_reduce_(0, places, sums, "amax")
        return None if lowest is None or highest is None else (lowest[None], highest[None])

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0, without unit; higher means more OOD."""
        return (self._deviations(batch) / self.learned("unit_")).sum(dim=1).float()

    def _deviations(self, batch: FeatureBatch) -> Tensor:
        """Deviation of each layer over the probability of the predicted class, [N, L] float64."""
        lowest, highest = self.learned("lowest_"), self.learned("highest_")
        shape = batch.extra(_SUMS).shape
        if shape[1:] != lowest.shape[1:]:
            raise DataError(
                f"{_SUMS} of shape {list(shape)} have {shape[-1]} columns but "
                f"{type(self).__name__} was fitted on {lowest.shape[-1]}, of {lowest.shape[1]} "
                f"layers and {lowest.shape[2]} orders; fit and score rows of the same extraction."
            )
        found = []
        for logits, sums in _blocks(batch):
            probability, classes = logits.double().softmax(dim=1).max(dim=1)
            low, high, values = lowest[classes].double(), highest[classes].double(), sums.double()
            below = (low - values).relu() / low.abs().clamp(min=_SMALLEST)
            above = (values - high).relu() / high.abs().clamp(min=_SMALLEST)
            found.append((below + above).sum(dim=(2, 3)) / probability[:, None])
        return torch.cat(found)

    def learned_rows(self, ids: Tensor, labels: Tensor) -> Tensor:
        """All held-out rows: their deviations are the unit of the score."""
        del labels
        return torch.ones_like(ids, dtype=torch.bool)


def _blocks(batch: FeatureBatch) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and row sums of a batch, a few rows at a time."""
    sums = batch.extra(_SUMS)
    rows = max(1, _BLOCK_VALUES // max(1, sums[:1].numel()))
    yield from zip(torch.split(batch.logits, rows), torch.split(sums, rows), strict=True)


Entry = Gram
