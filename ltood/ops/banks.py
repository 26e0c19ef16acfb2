"""Banks of training rows that several methods compare with, thinned evenly on request.

A bank holds what a search or a kernel over training rows needs: features or their directions.
What a method reads of the same rows' logits stands beside it. Each is made once per `FitInputs`,
in one pass, never holds more rows than asked for, and lies in a file where it is large; see
`runtime/large.py`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ltood.core.batches import FeatureSource, Logits
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.lengths import unit
from ltood.ops.logits import energy
from ltood.ops.pairs import SimilarityBank
from ltood.ops.spaced import spaced
from ltood.runtime.large import room_for


def training_features(
    inputs: FitInputs, *, normalise: bool, fraction: float = 1.0
) -> SimilarityBank:
    """Features of an even share of the training rows as one bank, once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide the rows, and later the queries, by their L2 norms.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.

    Raises:
        MissingNeedError: If there are no training rows.
    """
    source = _share(inputs.require_train(), fraction)

    def compute() -> SimilarityBank:
        bank = None
        done = 0
        for batch in source.batches(arrays=("features",)):
            features = batch.features
            if bank is None:
                shape, what = (len(source), source.dim), "the features of the training rows"
                bank = room_for(shape, features.dtype, features.device, what)
            bank[done : done + len(batch)] = unit(features) if normalise else features
            done += len(batch)
        if bank is None:
            bank = torch.empty((0, source.dim))
        return SimilarityBank(bank, normalise=normalise)

    return inputs.cached(("training_features", normalise, len(source)), compute)


def training_confidence(inputs: FitInputs, fraction: float = 1.0) -> Tensor:
    """Log sum exp of the logits of the rows of `training_features`, [M] float32.

    Args:
        inputs: What there is to learn from; needs the training rows.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    found = _of_logits(inputs, fraction, "confidences", lambda logits: -energy(logits)[:, None])
    return found[:, 0]


def training_probabilities(inputs: FitInputs, fraction: float = 1.0) -> Tensor:
    """Softmax of the logits of the rows of `training_features`, [M, C] float32.

    Args:
        inputs: What there is to learn from; needs the training rows.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    name = "class probabilities"
    return _of_logits(inputs, fraction, name, lambda logits: torch.softmax(logits, dim=1))


def _of_logits(
    inputs: FitInputs, fraction: float, name: str, make: Callable[[Logits], Tensor]
) -> Tensor:
    """What `make` gives for the logits of an even share of the training rows, once per `inputs`."""
    source = _share(inputs.require_train(), fraction)
    if len(source) == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")

    def compute() -> Tensor:
        # Filled in place: a list of parts and what joins them would take the memory twice.
        rows, done = None, 0
        for batch in source.batches(arrays=("logits",)):
            made = make(batch.logits)
            if rows is None:
                shape, what = (len(source), made.shape[1]), f"the {name} of the training rows"
                rows = room_for(shape, made.dtype, made.device, what)
            rows[done : done + len(batch)] = made
            done += len(batch)
        assert rows is not None
        return rows

    return inputs.cached(("training_logits", name, len(source)), compute)


def _share(source: FeatureSource, fraction: float) -> FeatureSource:
    """Evenly spaced rows of a source, one at least."""
    return spaced(source, max(1, round(fraction * len(source))))
