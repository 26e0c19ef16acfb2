"""Relation: strength of the edges to the training rows in the neural relation graph.

Source: Kim, Yun and Song, "Neural Relation Graph: A Unified Framework for Identifying Label
Noise and Outlier Data", NeurIPS 2023 (arXiv:2301.12321). The kernel of two rows is the
positive part of the cosine of their features times the inner product of their class
probabilities; as in the authors' code, edges of 0.03 and less are dropped and the others
raised to a power, which is 1 in their command for outliers and 4 in that for label noise.
Departures: the mean over the training rows instead of the sum, so that
scores of training sets of different size compare; `fraction` thins the training rows.

Formula:
    e_j = max(cos(f, f_j), 0) * (p . p_j),  p = softmax(z)
    score = -mean over training rows j of (e_j where e_j > threshold, else 0)^power
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Decay, Positive, Share
from ltood.core.settings import Settings
from ltood.ops.banks import training_features, training_probabilities
from ltood.ops.pairs import Consumer, Cosines, PairMethod, Queries, SimilarityBank

#: Edges of this strength and less are rounding errors of the cosines in float32.
LEAST_EDGE = 1e-6


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the relation graph.

    Attributes:
        power: Exponent of the kernel, above 0; a large one listens to close rows only. The
            authors detect outliers with 1, as OpenOOD does, and label noise with 4. With 1 the
            many rows of the head classes drown the few close rows of a tail class.
        threshold: Edges of this strength and less are dropped; 0 or more, below 1.
        fraction: Share of the training rows in the graph, above 0 and at most 1.
    """

    power: Positive = 1.0
    threshold: Decay = 0.03
    fraction: Share = 1.0


class Relation(PairMethod[Config]):
    """Scores rows by the negative of their mean relation to the training rows."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("bank_", 1)
    classes_axis: tuple[str, int] = ("probabilities_", 1)
    _consumer: "Edges | None" = None

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep directions and class probabilities of the training rows."""
        share = self.config.fraction
        self.probabilities_ = training_probabilities(inputs, share, shared=True)
        bank = training_features(inputs, normalise=True, fraction=share, shared=True)
        self.bank_ = bank.rows
        self._consumer = Edges(bank, self.probabilities_, self.config)
        return self

    def consumer(self) -> "Edges":
        """Adds up the edges to the training rows."""
        if self._consumer is None:
            bank = SimilarityBank(self.learned("bank_"), normalise=True)
            self._consumer = Edges(bank, self.learned("probabilities_"), self.config)
        return self._consumer

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 0]; higher means more OOD."""
        return -self.consumer().read(batch).float()


class Edges(Consumer[Tensor]):
    """Finds the mean strength of the edges of each row to the rows of a bank, [N] float64.

    Attributes:
        probabilities: Class probabilities of the bank's rows, [M, C] float32.
        config: Settings of the kernel.
    """

    reads = ("logits",)

    def __init__(self, bank: SimilarityBank, probabilities: Tensor, config: Config) -> None:
        """Keep what `start` needs."""
        super().__init__(bank)
        self.probabilities, self.config = probabilities, config

    def start(self, queries: Queries) -> "EdgeSums":
        """See `Consumer`."""
        return EdgeSums(self, torch.softmax(queries.batch.logits, dim=1), queries)


class EdgeSums:
    """The edges of each row of one batch; see `Edges`."""

    def __init__(self, whose: Edges, probabilities: Tensor, queries: Queries) -> None:
        """Begin with none."""
        self._whose, self._probabilities = whose, probabilities
        self._cosines = Cosines(queries)
        # float64 from part to part, since a million edges may be added up.
        self._sums = queries.rows.new_zeros(len(queries.rows), dtype=torch.float64)

    def add(self, rows: slice, columns: slice, similarity: Tensor) -> None:
        """See `Accumulator`."""
        power, least = self._whose.config.power, max(self._whose.config.threshold, LEAST_EDGE)
        own = self._probabilities[rows]
        for part, cosines in self._cosines.parts(rows, columns, similarity):
            edges = cosines.mul_(own @ self._whose.probabilities[part].T)
            # Below zero the threshold takes the positive part.
            edges = torch.threshold_(edges, least, 0)
            self._sums[rows] += raised(edges, power).sum(dim=1)

    def held(self) -> tuple[Tensor, ...]:
        """See `SharedAccumulator`."""
        return (self._sums,)

    def take(self, parts: Sequence[tuple[Tensor, ...]]) -> None:
        """See `SharedAccumulator`."""
        self._sums = torch.stack([sums for (sums,) in parts]).sum(dim=0)

    def result(self) -> Tensor:
        """Mean strengths, [N] float64."""
        return self._sums / self._whose.bank.total


def raised(values: Tensor, power: float) -> Tensor:
    """Values to a power, in place; squares are many times quicker than a general power."""
    if power in (1, 2, 4):
        for _ in range(round(math.log2(power))):
            values.square_()
        return values
    return values.pow_(power)


Entry = Relation
