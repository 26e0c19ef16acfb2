"""NNGuide: energy guided by similarity to confident training features.

Source: Park, Jung and Teoh, "Nearest Neighbor Guidance for Out-of-Distribution Detection",
ICCV 2023 (arXiv:2309.14888). Departures: the bank is the whole training set unless
`fraction` says otherwise, and then every 1/fraction-th row instead of the first ones, which
in a split sorted by class would be the head classes alone; OpenOOD's 1e-10 on every
coordinate of a unit feature is left out.

Formula:
    g_j = logsumexp(z_j) cos(f, f_j) over training rows j
    score = -logsumexp(z) * mean of the k largest g_j
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Share
from ltood.core.settings import Settings
from ltood.ops.banks import training_confidence, training_features
from ltood.ops.logits import energy
from ltood.ops.pairs import Consumer, Cosines, PairMethod, Queries, SimilarityBank, largest


@dataclass(frozen=True)
class Config(Settings):
    """Settings of NNGuide.

    Attributes:
        k: Most similar training rows to average over, 1 or more. The paper takes 10 on
            ImageNet; OpenOOD takes 100.
        fraction: Share of the training rows in the bank, above 0 and at most 1. The paper
            and OpenOOD take 0.01 on ImageNet.
    """

    k: Count = 10
    fraction: Share = 1.0


class NNGuide(PairMethod[Config]):
    """Scores rows by their energy times their similarity to confident training rows."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("bank_", 1)
    _consumer: "Similarities | None" = None

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the training features and their confidences.

        Raises:
            ConfigError: If the bank has fewer than `k` rows.
        """
        # Kept apart, not multiplied: the directions are shared with other methods.
        share = self.config.fraction
        self.confidence_ = training_confidence(inputs, share, shared=True)
        bank = training_features(inputs, normalise=True, fraction=share, shared=True)
        if self.config.k > bank.total:
            raise ConfigError(
                f"methods.nnguide.k is {self.config.k} but the bank has only {bank.total} rows; "
                f"set it to at most {bank.total}, or raise methods.nnguide.fraction."
            )
        self.bank_ = bank.rows
        self._consumer = Similarities(bank, self.confidence_, self.config.k)
        return self

    def consumer(self) -> "Similarities":
        """Finds the largest products with the training rows."""
        if self._consumer is None:
            bank = SimilarityBank(self.learned("bank_"), normalise=True)
            self._consumer = Similarities(bank, self.learned("confidence_"), self.config.k)
        return self._consumer

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in squared units of logits; higher means more OOD."""
        return self.consumer().read(batch) * energy(batch.logits)


class Similarities(Consumer[Tensor]):
    """Finds the mean of the largest products times confidence of each row, [N] float32.

    Attributes:
        confidence: Factor of each of the bank's rows, [M] float32.
        k: Products to average over, at most M.
    """

    def __init__(self, bank: SimilarityBank, confidence: Tensor, k: int) -> None:
        """Keep what `start` needs."""
        super().__init__(bank)
        self.confidence, self.k = confidence, k

    def start(self, queries: Queries) -> "LargestProducts":
        """See `Consumer`."""
        return LargestProducts(self, queries)


class LargestProducts:
    """The largest products of each row of one batch; see `Similarities`."""

    def __init__(self, whose: Similarities, queries: Queries) -> None:
        """Begin with none."""
        self._cosines = Cosines(queries)
        self._factors, self._queries = whose.confidence, queries.rows
        self._best = queries.rows.new_full((len(queries.rows), whose.k), -math.inf)

    def add(self, rows: slice, columns: slice, similarity: Tensor) -> None:
        """See `Accumulator`."""
        best = self._best[rows]
        for part, cosines in self._cosines.parts(rows, columns, similarity):
            products = cosines.mul_(self._factors[part])
            found, _ = largest(products, best.shape[1], best[:, -1], part.start)
            best = torch.cat([best, found], dim=1).topk(best.shape[1], dim=1).values
        self._best[rows] = best

    def held(self) -> tuple[Tensor, ...]:
        """See `SharedAccumulator`."""
        return (self._best,)

    def take(self, parts: Sequence[tuple[Tensor, ...]]) -> None:
        """See `SharedAccumulator`."""
        found = torch.cat([best for (best,) in parts], dim=1)
        self._best = found.topk(self._best.shape[1], dim=1).values

    def result(self) -> Tensor:
        """Means, [N] float32."""
        # Products that are known by differences are zero to rounding only.
        return self._best.mean(dim=1) * self._queries.any(dim=1)


Entry = NNGuide
