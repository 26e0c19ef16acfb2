"""NNGuide: energy guided by similarity to confident training features.

Source: Park, Jung and Teoh, "Nearest Neighbor Guidance for Out-of-Distribution Detection",
ICCV 2023 (arXiv:2309.14888). Departures: the bank is the whole training set unless
`fraction` says otherwise, and then every 1/fraction-th row instead of the first ones, which
in a split sorted by class would be the head classes alone; OpenOOD's 1e-10 on every
coordinate of a unit feature is left out.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.detector import Detector
from ltood.core.errors import ConfigError
from ltood.core.types import FeatureBatch, FitInputs, Need, Scores
from ltood.ops.banks import check_fraction, training_bank
from ltood.ops.logits import energy
from ltood.ops.neighbours import BANK_ROWS, QUERY_ROWS


@dataclass(frozen=True)
class Config:
    """Settings of NNGuide.

    Attributes:
        k: Most similar training rows to average over, 1 or more. The paper takes 10 on
            ImageNet; OpenOOD takes 100.
        fraction: Share of the training rows in the bank, above 0 and at most 1. The paper
            and OpenOOD take 0.01 on ImageNet.
    """

    k: int = 10
    fraction: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.k < 1:
            raise ConfigError(
                f"methods.nnguide.k is {self.k}; it is a number of neighbours, so set it to 1 "
                "or more."
            )
        check_fraction(self.fraction, "methods.nnguide.fraction")


class NNGuide(Detector):
    """Scores rows by their energy times their similarity to confident training rows."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: ClassVar[tuple[str, ...]] = ("features", "logits")

    def __init__(self, config: Config | None = None) -> None:
        """Take the settings."""
        self.config = config or Config()

    def fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the training features and their confidences.

        Raises:
            ConfigError: If the bank has fewer than `k` rows.
        """
        bank = training_bank(inputs, self.config.fraction)
        if self.config.k > len(bank.features):
            raise ConfigError(
                f"methods.nnguide.k is {self.config.k} but the bank has only "
                f"{len(bank.features)} rows; set it to at most {len(bank.features)}, or raise "
                "methods.nnguide.fraction."
            )
        # Kept apart, not multiplied: the directions are shared with other methods.
        self.bank_, self.confidence_ = bank.features, -energy(bank.logits)
        return self

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in squared units of logits; higher means more OOD."""
        queries = normalize(batch.features, dim=1)
        bank, confidence = self.learned("bank_"), self.learned("confidence_")
        guidance = [
            mean_of_largest(block, bank, confidence, self.config.k)
            for block in torch.split(queries, QUERY_ROWS)
        ]
        similarity = torch.cat(guidance) if guidance else queries.new_zeros(0)
        return similarity * energy(batch.logits)


def mean_of_largest(queries: Tensor, bank: Tensor, confidence: Tensor, k: int) -> Tensor:
    """Mean of the `k` largest inner products with the bank rows times their confidence.

    Args:
        queries: [Q, D] float32.
        bank: [M, D] float32, M at least `k`.
        confidence: Factor of each bank row, [M].
        k: Products to average over.

    Returns:
        Means, [Q] float32; higher means more ID.
    """
    best = queries.new_empty((len(queries), 0))
    for start in range(0, len(bank), BANK_ROWS):
        stop = start + BANK_ROWS
        products = (queries @ bank[start:stop].T).mul_(confidence[start:stop])
        block_best = products.topk(min(k, products.shape[1]), dim=1).values
        candidates = torch.cat([best, block_best], dim=1)
        best = candidates.topk(min(k, candidates.shape[1]), dim=1).values
    return best.mean(dim=1)


Entry = NNGuide
