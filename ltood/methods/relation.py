"""Relation: strength of the edges to the training rows in the neural relation graph.

Source: Kim, Yun and Song, "Neural Relation Graph: A Unified Framework for Identifying Label
Noise and Outlier Data", NeurIPS 2023 (arXiv:2301.12321). The kernel of two rows is the
positive part of the cosine of their features times the inner product of their class
probabilities; as in the authors' code, edges of 0.03 and less are dropped and the others
raised to a power. Departures: the mean over the training rows instead of the sum, so that
scores of training sets of different size compare; `fraction` thins the training rows.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.detector import Detector
from ltood.core.errors import ConfigError
from ltood.core.types import FeatureBatch, FitInputs, Need, Scores
from ltood.ops.banks import check_fraction, training_bank

#: Query rows and bank rows of one block (64 MiB for each of the two kernels).
QUERY_ROWS = 512
BANK_ROWS = 32768


@dataclass(frozen=True)
class Config:
    """Settings of the relation graph.

    Attributes:
        power: Exponent of the kernel, above 0; a large one listens to close rows only.
            The authors' code takes 4; OpenOOD takes 1, with which the many rows of the head
            classes drown the few close rows of a tail class.
        threshold: Edges of this strength and less are dropped; 0 or more, below 1.
        fraction: Share of the training rows in the graph, above 0 and at most 1.
    """

    power: float = 4.0
    threshold: float = 0.03
    fraction: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.power < math.inf:
            raise ConfigError(
                f"methods.relation.power is {self.power}; it is the exponent of the kernel, so "
                "set it above 0 (1 leaves the kernel as it is)."
            )
        if not 0 <= self.threshold < 1:
            raise ConfigError(
                f"methods.relation.threshold is {self.threshold}; no edge is stronger than 1, so "
                "set it to 0 or more and below 1 (the authors use 0.03)."
            )
        check_fraction(self.fraction, "methods.relation.fraction")


class Relation(Detector):
    """Scores rows by the negative of their mean relation to the training rows."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: ClassVar[tuple[str, ...]] = ("features", "logits")

    def __init__(self, config: Config | None = None) -> None:
        """Take the settings."""
        self.config = config or Config()

    def fit(self, inputs: FitInputs) -> Self:
        """Keep directions and class probabilities of the training rows."""
        bank = training_bank(inputs, self.config.fraction)
        self.bank_, self.probabilities_ = bank.features, torch.softmax(bank.logits, dim=1)
        return self

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 0]; higher means more OOD."""
        directions = torch.split(normalize(batch.features, dim=1), QUERY_ROWS)
        probabilities = torch.split(torch.softmax(batch.logits, dim=1), QUERY_ROWS)
        pairs = zip(directions, probabilities, strict=True)
        return -torch.cat([self._relation(*pair) for pair in pairs]).float()

    def _relation(self, directions: Tensor, probabilities: Tensor) -> Tensor:
        """Mean strength of the edges of each row, [Q] float64."""
        bank, bank_probabilities = self.learned("bank_"), self.learned("probabilities_")
        # float64 from block to block, since a million edges may be added up.
        strength = torch.zeros(len(directions), dtype=torch.float64, device=directions.device)
        for start in range(0, len(bank), BANK_ROWS):
            stop = start + BANK_ROWS
            kernel = (directions @ bank[start:stop].T).clamp_(min=0)
            kernel *= probabilities @ bank_probabilities[start:stop].T
            edges = torch.threshold_(kernel, self.config.threshold, 0).pow_(self.config.power)
            strength += edges.sum(dim=1)
        return strength / len(bank)


Entry = Relation
