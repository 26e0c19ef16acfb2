"""Banks of training rows that several methods compare with, thinned evenly on request.

A bank holds what a search or a kernel over training rows needs: features or their directions,
and logits. It is built once per `FitInputs`, in one pass, and never holds more rows than asked
for.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.lengths import unit
from ltood.ops.pairs import SimilarityBank


@dataclass(frozen=True)
class Bank:
    """Training rows to compare with, in the order of the training split.

    Attributes:
        features: Features divided by their L2 norms, M rows; zero rows stay zero.
        logits: Their class logits, [M, C] float32.
    """

    features: SimilarityBank
    logits: Tensor


def training_features(inputs: FitInputs, *, normalise: bool) -> SimilarityBank:
    """All training features as one bank, built once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide the rows, and later the queries, by their L2 norms.

    Raises:
        MissingNeedError: If there are no training rows.
    """
    source = inputs.require_train()

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

    return inputs.cached(("training_features", normalise), compute)


def training_bank(inputs: FitInputs, fraction: float = 1.0) -> Bank:
    """Unit features and logits of an even share of the training rows, once per `inputs`.

    Every 1/fraction-th row is taken, so that the choice needs no random numbers and a split
    that is sorted by class keeps its proportions. The whole bank is that of
    `training_features`.

    Args:
        inputs: What there is to learn from; needs the training rows.
        fraction: Share of the rows to keep, above 0 and at most 1; one row at least.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If there is not one row.
    """
    source = inputs.require_train()
    if len(source) == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")

    def compute() -> Bank:
        total = len(source)
        kept = min(total, max(1, round(fraction * total)))
        whole = training_features(inputs, normalise=True) if kept == total else None
        features, logits = [], []
        start = 0
        for batch in source.batches(arrays=("features", "logits")):
            ranks = torch.arange(start, start + len(batch))
            # Whole numbers only: a product with the fraction would round at the edges.
            chosen = ((ranks + 1) * kept // total > ranks * kept // total).to(batch.logits.device)
            if kept < total:
                features.append(unit(batch.features[chosen]))
            logits.append(batch.logits[chosen])
            start += len(batch)
        if whole is None:
            whole = SimilarityBank(torch.cat(features), normalise=True)
        return Bank(whole, torch.cat(logits))

    return inputs.cached(("training_bank", fraction), compute)
