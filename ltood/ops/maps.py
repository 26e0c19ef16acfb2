"""The last feature map: features of each place, whose mean over places is the features.

A map has many times the numbers of its mean, so maps go through methods in blocks of rows: memory
does not grow with the rows of a batch beyond the batch itself.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Features
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.statistics import distribution

#: Name of the extra array, [N, P, D].
MAPS = "maps/features"
#: Numbers that are worked on at once (16 MiB in float32).
BLOCK_VALUES = 2**22


def map_blocks(batch: FeatureBatch) -> Iterator[Tensor]:
    """The maps of a batch in order, a few rows at a time, [n, P, D] float32.

    Raises:
        DataError: If they are not maps.
        MissingNeedError: If the batch holds none.
    """
    maps = batch.extra(MAPS)
    if maps.ndim != 3 or maps.shape[1] < 1:
        raise DataError(
            f"{MAPS} have the shape {list(maps.shape)}; give the features of each place of each "
            "row, [N, P, D]."
        )
    yield from torch.split(maps, max(1, BLOCK_VALUES // max(1, maps[:1].numel())))


def pooled(batch: FeatureBatch, pool: Callable[[Tensor], Features]) -> Features:
    """Features that a function makes of maps, [N, D].

    Args:
        batch: Holds maps.
        pool: Maps of some rows, [n, P, D], to their features, [n, D]; rows by themselves.
    """
    return torch.cat([pool(block) for block in map_blocks(batch)])


def map_percentile(inputs: FitInputs, percent: float) -> float:
    """Percentile of all numbers in the maps of held-out ID rows; see `statistics.Activations`.

    Raises:
        MissingNeedError: If there are no held-out rows, or they have no maps.
        DataError: If there is not one row.
    """
    source = inputs.require_val()

    def values() -> Iterator[Tensor]:
        for batch in source.batches(arrays=(MAPS,)):
            for block in map_blocks(batch):
                yield block.flatten()

    found = inputs.cached("map_activations", lambda: distribution(values(), "val"))
    return found.percentile(percent)
