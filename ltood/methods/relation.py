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

from ltood.core.batches import FeatureBatch, Features, FitInputs, Need, Scores
from ltood.core.errors import ConfigError
from ltood.core.slots import Detector
from ltood.ops.banks import check_fraction, training_bank
from ltood.ops.pairs import Cosines, Pairs, Reader

#: Edges of this strength and less are rounding errors of the cosines in float32.
LEAST_EDGE = 1e-6


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
        self._reader: Edges | None = None

    def fit(self, inputs: FitInputs) -> Self:
        """Keep directions and class probabilities of the training rows."""
        bank = training_bank(inputs, self.config.fraction)
        self.bank_, self.probabilities_ = bank.pairs.bank, torch.softmax(bank.logits, dim=1)
        self._reader = Edges(bank.pairs, self.probabilities_, self.config)
        return self

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 0]; higher means more OOD."""
        bank, probabilities = self.learned("bank_"), self.learned("probabilities_")
        if self._reader is None or self._reader.pairs.bank is not bank:
            # Restored from saved arrays: there is nobody to share with.
            self._reader = Edges(Pairs(bank, normalise=True), probabilities, self.config)
        return -self._reader.read(batch).float()


class Edges(Reader[Tensor]):
    """Finds the mean strength of the edges of each row to the rows of a bank, [N] float64.

    Attributes:
        probabilities: Class probabilities of the bank's rows, [M, C] float32.
        config: Settings of the kernel.
    """

    def __init__(self, pairs: Pairs, probabilities: Tensor, config: Config) -> None:
        """Join the readers of the bank's pairs."""
        super().__init__(pairs)
        self.probabilities, self.config = probabilities, config
        pairs.join(self)

    def start(self, batch: FeatureBatch, queries: Features) -> "EdgeReading":
        """See `Reader`."""
        return EdgeReading(self, torch.softmax(batch.logits, dim=1), queries)


class EdgeReading:
    """The edges of each row of one batch; see `Edges`."""

    def __init__(self, whose: Edges, probabilities: Tensor, queries: Features) -> None:
        """Begin with none."""
        self._whose, self._probabilities = whose, probabilities
        self._cosines = Cosines(whose.pairs, queries)
        # float64 from part to part, since a million edges may be added up.
        self._sums = torch.zeros(len(queries), dtype=torch.float64, device=queries.device)

    def add(self, rows: slice, columns: slice, closeness: Tensor) -> None:
        """See `Reading`."""
        power, least = self._whose.config.power, max(self._whose.config.threshold, LEAST_EDGE)
        own = self._probabilities[rows]
        for part, cosines in self._cosines.parts(rows, columns, closeness):
            edges = cosines.mul_(own @ self._whose.probabilities[part].T)
            # Below zero the threshold takes the positive part.
            edges = torch.threshold_(edges, least, 0)
            self._sums[rows] += raised(edges, power).sum(dim=1)

    def result(self) -> Tensor:
        """Mean strengths, [N] float64."""
        return self._sums / len(self._whose.probabilities)


def raised(values: Tensor, power: float) -> Tensor:
    """Values to a power, in place; squares are many times quicker than a general power."""
    if power in (1, 2, 4):
        for _ in range(round(math.log2(power))):
            values.square_()
        return values
    return values.pow_(power)


Entry = Relation
