"""Banks of training rows that several methods compare with, thinned evenly on request.

A bank holds what a search or a kernel over training rows needs: features or their directions.
What a method reads of the same rows' logits stands beside it. Each is made once per `FitInputs`,
in one pass, never holds more rows than asked for, and lies in a file where it is large; see
`runtime/large.py`.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource, Logits
from ltood.core.crew import Crew, Span, numbered_batches
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.lengths import unit
from ltood.ops.logits import energy
from ltood.ops.pairs import SimilarityBank
from ltood.ops.shared_banks import SharedBank
from ltood.ops.spaced import spaced_share
from ltood.runtime.large import room_for


def training_features(
    inputs: FitInputs, *, normalise: bool, fraction: float = 1.0, shared: bool = False
) -> SimilarityBank:
    """Features of an even share of the training rows as one bank, once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide the rows, and later the queries, by their L2 norms.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.
        shared: Whether whoever asks reads in step with other processes, of which each may then
            hold a part; see `ops/shared_banks.py`.

    Raises:
        MissingNeedError: If there are no training rows.
    """
    source, crew = spaced_share(inputs.require_train(), fraction), inputs.crew
    if shared and crew.shares_banks:
        key = ("shared_features", normalise, len(source))
        return inputs.cached(key, lambda: _own_part(crew, source, normalise))

    def compute() -> SimilarityBank:
        batches = source.batches(arrays=("features",))
        return SimilarityBank(
            _held(batches, len(source), source.dim, normalise), normalise=normalise
        )

    return inputs.cached(("training_features", normalise, len(source)), compute)


def _own_part(crew: Crew, source: FeatureSource, normalise: bool) -> SharedBank:
    """The rows of a bank that this process holds."""
    # Parts begin and end with a batch.
    most = min(len(source), -(-len(source) // crew.part.count) + BATCH_ROWS)
    rows = _held(crew.batches(source, ("features",)), most, source.dim, normalise)
    return SharedBank(rows, normalise=normalise, crew=crew)


def _held(batches: Iterable[FeatureBatch], most: int, dim: int, normalise: bool) -> Tensor:
    """Features of all batches, which have `most` rows at most, [M, D] float32."""
    bank = None
    done = 0
    for batch in batches:
        features = batch.features
        if bank is None:
            what = "the features of the training rows"
            bank = room_for((most, dim), features.dtype, features.device, what)
        bank[done : done + len(batch)] = unit(features) if normalise else features
        done += len(batch)
    return torch.empty((0, dim)) if bank is None else bank[:done]


def training_confidence(
    inputs: FitInputs, fraction: float = 1.0, *, shared: bool = False
) -> Tensor:
    """Log sum exp of the logits of the rows of `training_features`, [M] float32.

    Args:
        inputs: What there is to learn from; needs the training rows.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.
        shared: As `training_features` takes it.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    name = "confidences"
    return _of_logits(inputs, fraction, name, lambda rows: -energy(rows)[:, None], shared)[:, 0]


def training_probabilities(
    inputs: FitInputs, fraction: float = 1.0, *, shared: bool = False
) -> Tensor:
    """Softmax of the logits of the rows of `training_features`, [M, C] float32.

    Args:
        inputs: What there is to learn from; needs the training rows.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.
        shared: As `training_features` takes it.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    name = "class probabilities"
    return _of_logits(inputs, fraction, name, lambda rows: torch.softmax(rows, dim=1), shared)


def _of_logits(
    inputs: FitInputs,
    fraction: float,
    name: str,
    make: Callable[[Logits], Tensor],
    shared: bool,
) -> Tensor:
    """What `make` gives for the logits of an even share of the training rows, once per `inputs`."""
    source = spaced_share(inputs.require_train(), fraction)
    if len(source) == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")

    is_shared = shared and inputs.crew.shares_banks

    def compute() -> Tensor:
        first, num_rows = 0, len(source)
        if is_shared:
            own = training_features(inputs, normalise=True, fraction=fraction, shared=True)
            assert isinstance(own, SharedBank)
            first, num_rows = own.first, len(own)
        # Filled in place: a list of parts and what joins them would take the memory twice.
        rows, done = None, 0
        span = Span(first=first, end=first + num_rows)
        for _, batch in numbered_batches(source, span, ("logits",)):
            made = make(batch.logits)
            if rows is None:
                shape, what = (num_rows, made.shape[1]), f"the {name} of the training rows"
                rows = room_for(shape, made.dtype, made.device, what)
            rows[done : done + len(batch)] = made
            done += len(batch)
        # None where all rows are with other processes.
        return make(torch.empty((0, source.num_classes))) if rows is None else rows

    return inputs.cached(("training_logits", name, len(source), is_shared), compute)
