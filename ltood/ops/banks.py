"""Banks of training rows that several methods compare with, thinned evenly on request.

A bank holds what a kernel over training rows needs: directions of features, and logits. It
is built once per `FitInputs`, in one pass, and never holds more rows than asked for.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.batches import FitInputs
from ltood.core.errors import ConfigError, DataError
from ltood.ops.neighbours import training_neighbours
from ltood.ops.pairs import Pairs


@dataclass(frozen=True)
class Bank:
    """Training rows to compare with, in the order of the training split.

    Attributes:
        pairs: Features divided by their L2 norms, [M, D] float32; zero rows stay zero.
        logits: Their class logits, [M, C] float32.
    """

    pairs: Pairs
    logits: Tensor


def training_bank(inputs: FitInputs, fraction: float = 1.0) -> Bank:
    """Unit features and logits of an even share of the training rows, once per `inputs`.

    Every 1/fraction-th row is taken, so that the choice needs no random numbers and a split
    that is sorted by class keeps its proportions. The whole bank is that of the searcher of
    normalised neighbours.

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
        whole = training_neighbours(inputs, normalise=True).pairs if kept == total else None
        features, logits = [], []
        start = 0
        for batch in source.batches(arrays=("features", "logits")):
            ranks = torch.arange(start, start + len(batch))
            # Whole numbers only: a product with the fraction would round at the edges.
            chosen = ((ranks + 1) * kept // total > ranks * kept // total).to(batch.logits.device)
            if whole is None:
                features.append(normalize(batch.features[chosen], dim=1))
            logits.append(batch.logits[chosen])
            start += len(batch)
        pairs = Pairs(torch.cat(features), normalise=True) if whole is None else whole
        return Bank(pairs, torch.cat(logits))

    return inputs.once(("training_bank", fraction), compute)


def check_fraction(fraction: float, where: str) -> None:
    """Refuse a share of the training rows that is none.

    Args:
        fraction: The setting's value.
        where: The setting's path, such as "methods.nnguide.fraction".

    Raises:
        ConfigError: Unless the value is above 0 and at most 1.
    """
    if not (math.isfinite(fraction) and 0 < fraction <= 1):
        raise ConfigError(
            f"{where} is {fraction}; it is the share of the training rows to keep, so set it "
            "above 0 and at most 1 (1 keeps all)."
        )
