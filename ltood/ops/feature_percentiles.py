"""Percentiles of each training feature on its own, exact for any number of rows.

Few rows are held and sorted. Of more, the value of a rank is found by its bits: each pass over
the rows counts, feature by feature, the next bits of the values that agree with what is known of
it so far. Three passes settle all 32 bits, and memory depends on the number of features alone.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import FeatureSource
from ltood.core.crew import Crew, Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.statistics import EXACT_VALUES

#: Bits of a float32 that each pass settles, from the highest on.
PASSES = (11, 11, 10)

#: Values whose bits are counted at once.
COUNTED_VALUES = 2**20


def feature_percentiles(inputs: FitInputs, percents: tuple[float, ...]) -> Tensor:
    """Percentiles of each training feature by linear interpolation, [P, D] float32.

    Args:
        inputs: What there is to learn from; needs the training rows.
        percents: Percentiles, 0 to 100 each.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    source = inputs.require_train()
    key = ("feature_percentiles", percents)
    return inputs.cached(key, lambda: _found(inputs.crew, source, percents))


def _found(crew: Crew, source: FeatureSource, percents: tuple[float, ...]) -> Tensor:
    total = len(source)
    if total == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    places = [percent / 100 * (total - 1) for percent in percents]
    lows = [int(place) for place in places]
    ranks = sorted({*lows, *(min(low + 1, total - 1) for low in lows)})
    is_small = total * source.dim <= EXACT_VALUES
    values = (_sorted_ranks if is_small else _counted_ranks)(crew, source, ranks)
    by_rank = {rank: values[place].double() for place, rank in enumerate(ranks)}
    found = []
    for place, low in zip(places, lows, strict=True):
        below, above = by_rank[low], by_rank[min(low + 1, total - 1)]
        found.append(below + (above - below) * (place - low))
    return torch.stack(found).float()


def _sorted_ranks(crew: Crew, source: FeatureSource, ranks: list[int]) -> Tensor:
    """Values of some ranks of each feature, [R, D] float32, from all rows in memory."""
    columns = _columns(source) if crew.is_alone else _joined_columns(crew, source)
    if columns.device.type == "cpu":
        # NumPy's vectorised sort takes a tenth of torch's time, which also sorts indices.
        columns.numpy().sort(axis=1)
    else:
        columns = columns.sort(dim=1).values
    return columns[:, ranks].T.contiguous()


def _columns(source: FeatureSource) -> Tensor:
    """All rows as columns, [D, N] float32."""
    columns: Tensor | None = None
    start = 0
    for batch in source.batches(arrays=("features",)):
        rows = batch.features
        if columns is None:
            columns = rows.new_empty(rows.shape[1], len(source))
        columns[:, start : start + len(rows)] = rows.T
        start += len(rows)
    assert columns is not None
    return columns


def _joined_columns(crew: Crew, source: FeatureSource) -> Tensor:
    """The same of rows that several processes read."""

    def own() -> Seen:
        parts = [batch.features for batch in crew.batches(source, ("features",))]
        return (torch.cat(parts),) if parts else None

    seen = crew.joined(own)
    assert seen is not None
    return seen[0].T.contiguous()


def _counted_ranks(crew: Crew, source: FeatureSource, ranks: list[int]) -> Tensor:
    """The same from counts of bits, with one pass over the rows for each of `PASSES`."""
    dim = source.dim
    device = torch.device("cpu")
    known = np.zeros((len(ranks), dim), dtype=np.int64)
    left = np.repeat(np.array(ranks, dtype=np.int64)[:, None], dim, axis=1)
    below = 32
    for bits in PASSES:
        below -= bits
        # Ranks whose values agree so far in every feature share their counts.
        counters = {prefix.tobytes(): _Counter(prefix, below, bits) for prefix in known}
        for batch in crew.batches(source, ("features",)):
            device = batch.features.device
            for keys in _keys(batch.features):
                for counter in counters.values():
                    counter.add(keys)
        for counter in counters.values():
            device = counter.merge(crew) or device
        for place, prefix in enumerate(known):
            chosen, left[place] = counters[prefix.tobytes()].find(left[place])
            known[place] = (prefix << bits) | chosen
    return torch.from_numpy(_values(known)).to(device)


def _keys(features: Tensor) -> Iterable[NDArray[np.int64]]:
    """Features as whole numbers of 32 bits in the same order, in blocks of rows [n, D]."""
    for rows in torch.split(features, max(1, COUNTED_VALUES // features.shape[1])):
        # Adding zero turns -0.0 into 0.0, which would otherwise sort below every zero.
        signed = (rows.cpu().float().numpy() + 0.0).view(np.int32).astype(np.int64)
        # Negative floats order backwards by their bits; flipping all but the sign mends that.
        yield np.where(signed < 0, signed ^ 0x7FFFFFFF, signed) + 2**31


class _Counter:
    """Counts, feature by feature, how values that begin with known bits go on."""

    def __init__(self, prefix: NDArray[np.int64], below: int, bits: int) -> None:
        """Start with no values.

        Args:
            prefix: Bits that the values of each feature begin with, [D].
            below: How many bits come after those that are counted.
            bits: How many bits are counted.
        """
        self._prefix, self._below, self._bits = prefix.copy(), below, bits
        self._counts = np.zeros(len(prefix) << bits, dtype=np.int64)

    def add(self, keys: NDArray[np.int64]) -> None:
        """Count the values of some rows, [n, D] from `_keys`."""
        leading = keys >> self._below
        cells = (leading & ((1 << self._bits) - 1)) + (np.arange(keys.shape[1]) << self._bits)
        np.add.at(self._counts, cells[leading >> self._bits == self._prefix], 1)

    def merge(self, crew: Crew) -> torch.device | None:
        """Add what other processes have counted; says where these compute, if there are any."""
        if crew.is_alone:
            return None
        total = crew.total(lambda: torch.from_numpy(self._counts))
        self._counts = total.cpu().numpy()
        return total.device

    def find(self, ranks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bits of the value of a rank among those counted, and its rank among its equals.

        Args:
            ranks: Rank in each feature, [D].
        """
        counts = self._counts.reshape(len(ranks), -1)
        running = counts.cumsum(axis=1)
        chosen = (running <= ranks[:, None]).sum(axis=1)
        each = np.arange(len(ranks))
        return chosen, ranks - (running[each, chosen] - counts[each, chosen])


def _values(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """Floats of whole numbers from `_keys`."""
    signed = keys - 2**31
    found: NDArray[np.float32] = (
        np.where(signed < 0, signed ^ 0x7FFFFFFF, signed).astype(np.int32).view(np.float32)
    )
    return found
