"""Statistics of the training features, each from one pass over rows in batches.

Class counts and sums are float64, so that neither batch size nor the order of additions
shows in float32 results. All are kept in `FitInputs.cached` and shared among methods.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.batches import Features, FeatureSource, Labels
from ltood.core.crew import ALONE, Crew, Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.graphs import is_written

#: Most training activations that are kept and sorted for exact percentiles (256 MiB).
EXACT_VALUES = 2**26

#: Percentiles that are selected, which takes less than a third of a sort's time, before all values
#: are sorted.
SELECTIONS = 4

#: Rows that are widened to float64 at once: small enough for a processor's cache, and for
#: the allocator to reuse their memory instead of asking the system for fresh pages.
WIDE_ROWS = 1024

#: Leading bits of a float32 (sign, exponent, 11 bits of the fraction) that name its bin.
SKETCH_BITS = 20


@dataclass(frozen=True)
class ClassStatistics:
    """Counts and sums of the training features by class.

    Attributes:
        counts: Training rows of each class, [C] int64; may hold zeros.
        sums: Sum of the features of each class, [C, D] float64.
    """

    counts: Tensor
    sums: Tensor

    @property
    def num_rows(self) -> int:
        """Number of training rows N."""
        return int(self.counts.sum())

    @property
    def present(self) -> Tensor:
        """Whether a class has any training row, [C] bool."""
        return self.counts > 0

    @property
    def means(self) -> Tensor:
        """Mean feature of each class, [C, D] float64; zero for a class without rows."""
        return self.sums / self.counts.clamp(min=1)[:, None]

    @property
    def mean(self) -> Tensor:
        """Mean feature of all training rows, [D] float64."""
        return self.sums.sum(dim=0) / self.num_rows


def class_statistics(inputs: FitInputs, *, normalise: bool = False) -> ClassStatistics:
    """Counts and feature sums of each training class, computed once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide each feature vector by its L2 norm first.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If a training label is not a valid class or there are no rows.
    """
    source, crew = inputs.require_train(), inputs.crew

    def compute() -> ClassStatistics:
        seen = crew.summed(lambda: _class_statistics(crew, source, normalise))
        if seen is None:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        return ClassStatistics(*seen)

    return inputs.cached(("class_statistics", normalise), compute)


def _class_statistics(crew: Crew, source: FeatureSource, normalise: bool) -> Seen:
    """Counts and sums of the rows that this process reads."""
    counts = sums = None
    for batch in crew.batches(source, ("features", "labels")):
        features, labels = batch.features, batch.labels
        check_labels(labels, source.num_classes)
        if counts is None or sums is None:
            counts = labels.new_zeros(source.num_classes)
            sums = features.new_zeros((source.num_classes, source.dim), dtype=torch.float64)
        counts += torch.bincount(labels, minlength=source.num_classes)
        blocks = zip(torch.split(features, WIDE_ROWS), torch.split(labels, WIDE_ROWS), strict=True)
        for rows, classes in blocks:
            sums.index_add_(0, classes, prepared(rows, normalise))
    return None if counts is None or sums is None else (counts, sums)


def prepared(features: Features, normalise: bool) -> Tensor:
    """Features in float64, [N, D], divided by their L2 norms if `normalise`; a new tensor."""
    wide = features.to(torch.float64, copy=True)
    return normalize(wide, dim=1) if normalise else wide


def check_labels(labels: Labels, num_classes: int) -> None:
    """Refuse training labels that are not classes.

    Raises:
        DataError: With the first such label.
    """
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        raise DataError(
            f"the training split holds the label {int(labels[bad][0])}; labels of training rows "
            f"are 0 to {num_classes - 1}. Import the rows of unknown class as an OOD split."
        )


@dataclass(eq=False)
class Activations:
    """Distribution of all training activations together, ready for any percentile.

    Attributes:
        values: All values, whose order may change, or None where they were too many.
        histogram: Values in each bin of equal leading bits, [2^SKETCH_BITS] int64, or None.
    """

    values: Tensor | None = None
    histogram: Tensor | None = None
    _asked: int = field(default=0, init=False)

    def percentile(self, percent: float) -> float:
        """Value that `percent` of the activations do not exceed, by linear interpolation.

        From the values the answer is exact. From the histogram it lies in the same
        bin as the exact one, or between the bins of its two neighbours; a bin spans one
        part in 2^11 of its value.

        Args:
            percent: 0 to 100.
        """
        if self.values is not None:
            rank = percent / 100 * (len(self.values) - 1)
            low = int(rank)
            ranks = [low, min(low + 1, len(self.values) - 1)]
            ends = self._ordered(self.values, ranks)[ranks].double().tolist()
        else:
            assert self.histogram is not None
            rank = percent / 100 * (int(self.histogram.sum()) - 1)
            low = int(rank)
            ends = [self._ranked(low), self._ranked(low + 1)]
        return float(ends[0] + (rank - low) * (ends[1] - ends[0]))

    def _ordered(self, values: Tensor, ranks: list[int]) -> Tensor:
        """The values, of which those of the given ranks stand in their places."""
        self._asked += 1
        if self._asked <= SELECTIONS and values.device.type == "cpu":
            values.numpy().partition(ranks)
        elif self._asked <= SELECTIONS + 1:
            # From now on in order, on a GPU with the first percentile.
            self.values, self._asked = _sorted(values), SELECTIONS + 1
        assert self.values is not None
        return self.values

    def _ranked(self, rank: int) -> float:
        """Value of the given rank, spread evenly between the edges of its bin."""
        assert self.histogram is not None
        cumulative = self.histogram.cumsum(0)
        rank = min(rank, int(cumulative[-1]) - 1)
        index = int(torch.searchsorted(cumulative, rank, right=True))
        inside = rank - int(cumulative[index] - self.histogram[index]) + 0.5
        low, high = _edges(index)
        return low + (high - low) * inside / int(self.histogram[index])


def activations(inputs: FitInputs) -> Activations:
    """Distribution of the training activations, gathered once per `inputs`.

    Memory is bounded: up to `EXACT_VALUES` values are kept, more go into a histogram
    over the leading bits of their float32 form, which needs no range in advance.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    source, crew = inputs.require_train(), inputs.crew

    def compute() -> Activations:
        batches = crew.batches(source, ("features",))
        return distribution((batch.features.flatten() for batch in batches), crew=crew)

    return inputs.cached("activations", compute)


def distribution(
    blocks: Iterable[Tensor], split: str = "training", crew: Crew = ALONE
) -> Activations:
    """Distribution of values that come in blocks, in bounded memory; see `activations`.

    Args:
        blocks: Values, [n] float32 each, of the rows that this process reads.
        split: Where they come from, for messages.
        crew: Processes that share the rows.

    Raises:
        DataError: If there is not one value.
    """
    held: list[Tensor] = []
    histogram, num_values = None, 0
    for values in blocks:
        held.append(values)
        num_values += len(values)
        if num_values > EXACT_VALUES:
            histogram = _counted(held, histogram)
            held.clear()
    total = sum(crew.told(num_values))
    if total > EXACT_VALUES:
        histogram = _counted(held, histogram)
        seen = crew.summed(lambda: None if histogram is None else (histogram,))
        assert seen is not None
        return Activations(histogram=seen[0])
    seen = crew.joined(lambda: (torch.cat(held),) if held else None)
    if seen is None or total == 0:
        raise DataError(f"the {split} split has no rows; a method cannot learn from it.")
    return Activations(seen[0])


def _counted(held: list[Tensor], histogram: Tensor | None) -> Tensor | None:
    """The histogram with some values more."""
    for values in held:
        counts = torch.bincount(_bins(values), minlength=1 << SKETCH_BITS)
        histogram = counts if histogram is None else histogram + counts
    return histogram


def _sorted(values: Tensor) -> Tensor:
    """The values in ascending order, in their own memory on a processor."""
    if values.device.type == "cpu":
        # NumPy's vectorised sort takes a tenth of torch's time, which also sorts indices.
        values.numpy().sort()
        return values
    return values.sort().values


def rows_sorted(rows: Tensor) -> Tensor:
    """Each row of [R, D] in ascending order, in new memory."""
    if rows.device.type == "cpu" and not is_written():
        # As above; faster than torch's selection of a single rank, too.
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(dim=1).values


def _bins(values: Tensor) -> Tensor:
    """Bin of each float32 value, [n] int64; greater values never get lower bins."""
    # Adding zero turns -0.0 into 0.0, which would otherwise sort below every zero.
    bits = (values + 0.0).view(torch.int32)
    # Negative floats order backwards by their bits; flipping all but the sign mends that.
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered >> (32 - SKETCH_BITS)).long() + (1 << (SKETCH_BITS - 1))


def _edges(index: int) -> tuple[float, float]:
    """Smallest and largest float32 value of a bin."""
    shift = 32 - SKETCH_BITS
    first = (index - (1 << (SKETCH_BITS - 1))) << shift
    ordered = torch.tensor([first, first + (1 << shift) - 1], dtype=torch.int32)
    low, high = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32).tolist()
    return low, high


def row_percentile(rows: Tensor, percent: float) -> Tensor:
    """Percentile of each row by linear interpolation, in the rows' own float32.

    Follows NumPy 2.4 bit for bit: the rank is float64, the interpolation float32. Masks
    compare weights with these thresholds, so another rounding would move single weights.

    Args:
        rows: Values, [R, D] float32.
        percent: 0 to 100.

    Returns:
        Thresholds, [R] float32.
    """
    return sorted_percentile(rows_sorted(rows.float()), percent)


def sorted_percentile(ordered: Tensor, percent: float) -> Tensor:
    """`row_percentile` of rows that are in ascending order already, [R] float32."""
    last = ordered.shape[1] - 1
    rank = percent / 100 * last
    low = int(rank)
    fraction = rank - low
    below, above = ordered[:, low], ordered[:, min(low + 1, last)]
    gap = above - below
    thresholds: Tensor = below + gap * fraction if fraction < 0.5 else above - gap * (1 - fraction)
    return thresholds
