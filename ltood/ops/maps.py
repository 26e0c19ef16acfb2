"""The last feature map: features of each place, whose mean over places is the features.

A map has many times the numbers of its mean, so maps go through methods in blocks of rows: memory
does not grow with the rows of a batch beyond the batch itself.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.slots import Method
from ltood.ops.logits import Scorer, score_logits
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
        for batch in inputs.crew.batches(source, (MAPS,)):
            for block in map_blocks(batch):
                yield block.flatten()

    found = inputs.cached("map_activations", lambda: distribution(values(), "val", inputs.crew))
    return found.percentile(percent)


class MapConfig(Protocol):
    """What the settings of a `MapMethod` say of its score."""

    @property
    def scorer(self) -> Scorer:
        """What scores the logits."""

    @property
    def temperature(self) -> float:
        """Divides the logits."""


C = TypeVar("C", bound=MapConfig)


class MapMethod(Method[C]):
    """Base of methods that change maps, pool them, and score the logits of the result."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = (MAPS,)

    @abstractmethod
    def _pooled(self, maps: Tensor) -> Features:
        """Features of changed maps, [n, D], of maps [n, P, D]; rows by themselves."""

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head."""
        head = inputs.require_head()
        self.weight_, self.bias_ = head.weight, head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        features = pooled(batch, self._pooled)
        logits = linear(features, self.learned("weight_"), self.learned("bias_"))
        return score_logits(logits, self.config.scorer, self.config.temperature)
