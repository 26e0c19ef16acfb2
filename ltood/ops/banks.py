"""Banks of training rows that several methods compare with, thinned evenly on request.

A bank holds what a search or a kernel over training rows needs: features or their directions,
and logits. It is built once per `FitInputs`, in one pass, and never holds more rows than asked
for.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.batches import FeatureSource
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.lengths import unit
from ltood.ops.pairs import SimilarityBank
from ltood.ops.spaced import spaced


@dataclass(frozen=True)
class Bank:
    """Training rows to compare with, in the order of the training split.

    Attributes:
        features: Features divided by their L2 norms, M rows; zero rows stay zero.
        logits: Their class logits, [M, C] float32.
    """

    features: SimilarityBank
    logits: Tensor


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
                bank = features.new_empty((len(source), source.dim))
            bank[done : done + len(batch)] = unit(features) if normalise else features
            done += len(batch)
        if bank is None:
            bank = torch.empty((0, source.dim))
        return SimilarityBank(bank, normalise=normalise)

    return inputs.cached(("training_features", normalise, len(source)), compute)


def training_bank(inputs: FitInputs, fraction: float = 1.0) -> Bank:
    """Unit features and logits of an even share of the training rows, once per `inputs`.

    Every 1/fraction-th row is taken, so that the choice needs no random numbers and a split
    that is sorted by class keeps its proportions. The features are those of
    `training_features`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    source = _share(inputs.require_train(), fraction)
    if len(source) == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")

    def compute() -> Bank:
        features = training_features(inputs, normalise=True, fraction=fraction)
        # Filled in place: a list of parts and what joins them would take the memory twice.
        logits, done = None, 0
        for batch in source.batches(arrays=("logits",)):
            if logits is None:
                logits = batch.logits.new_empty((len(source), batch.logits.shape[1]))
            logits[done : done + len(batch)] = batch.logits
            done += len(batch)
        assert logits is not None
        return Bank(features, logits)

    return inputs.cached(("training_bank", len(source)), compute)


def _share(source: FeatureSource, fraction: float) -> FeatureSource:
    """Evenly spaced rows of a source, one at least."""
    return spaced(source, max(1, round(fraction * len(source))))
