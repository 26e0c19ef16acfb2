"""KNN: distance to the k-th nearest training feature.

Source: Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest
Neighbors", ICML 2022 (arXiv:2204.06507). Departures: the distance is Euclidean, where the
authors' code squares it, which changes no order; the search is exact.

Formula:
    score = |f - n_k|, n_k the k-th nearest training feature
    both divided by their lengths with normalise
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count
from ltood.core.settings import Settings
from ltood.core.slots import ManyScores
from ltood.ops.banks import training_features
from ltood.ops.neighbours import Neighbours
from ltood.ops.pairs import PairMethod, SimilarityBank


@dataclass(frozen=True)
class Config(Settings):
    """Settings of KNN.

    Attributes:
        k: Rank of the neighbour whose distance is the score; 1 or more. The paper's
            50 belongs to CIFAR-10; it uses 200 for CIFAR-100 and 1000 for ImageNet.
        normalise: Divide features by their L2 norm first, as the paper does.
    """

    k: Count = 50
    normalise: bool = True


class KNN(PairMethod[Config]):
    """Scores rows by the distance to their k-th nearest training feature."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("bank_", 1)
    _consumer: Neighbours | None = None

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep all training features.

        Raises:
            ConfigError: If there are fewer than `k` training rows.
        """
        bank = training_features(inputs, normalise=self.config.normalise)
        self._consumer = Neighbours(bank, self.config.k, "methods.knn.k")
        self.bank_ = bank.rows
        return self

    def consumer(self) -> Neighbours | None:
        """The search for the k-th neighbour; None where FAISS searches by itself."""
        searcher = self._searcher()
        return None if searcher.asks_faiss else searcher

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        return self._searcher().distances(batch)

    @classmethod
    def score_many(cls, detectors: Sequence[Self], batch: FeatureBatch) -> ManyScores:
        """Scores of many settings, [S, N]; one search in a bank serves every k."""
        searchers = [detector._searcher() for detector in detectors]
        # Of each bank the last, which looks for most.
        widest = {searcher.bank: searcher for searcher in sorted(searchers, key=lambda it: it.k)}
        return torch.stack([widest[own.bank].distances(batch, own.k) for own in searchers])

    def _searcher(self) -> Neighbours:
        if self._consumer is None:
            bank = SimilarityBank(self.learned("bank_"), normalise=self.config.normalise)
            self._consumer = Neighbours(bank, self.config.k, "methods.knn.k")
        return self._consumer


Entry = KNN
