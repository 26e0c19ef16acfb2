"""KNN: distance to the k-th nearest training feature.

Source: Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest
Neighbors", ICML 2022 (arXiv:2204.06507). Departures: the distance is Euclidean, where the
authors' code squares it, which changes no order; the search is exact, unless `index` says
otherwise, and in all rows, unless `fraction` does: the paper takes 1 percent of ImageNet.

Formula:
    score = |f - n_k|, n_k the k-th nearest training feature
    both divided by their lengths with normalise
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Seed, Share
from ltood.core.settings import Settings
from ltood.core.slots import ManyScores
from ltood.ops.banks import training_features
from ltood.ops.graphs import is_written
from ltood.ops.inverted_lists import InvertedLists
from ltood.ops.neighbours import Neighbours
from ltood.ops.pairs import PairMethod, SimilarityBank


@dataclass(frozen=True)
class Config(Settings):
    """Settings of KNN.

    Attributes:
        k: Rank of the neighbour whose distance is the score; 1 or more. The paper's
            50 belongs to CIFAR-10; it uses 200 for CIFAR-100 and 1000 for ImageNet.
        normalise: Divide features by their L2 norm first, as the paper does.
        fraction: Share of the training rows to search, evenly spaced, above 0 and at most 1.
        index: "exact" compares with every row; "ivf" divides them among lists and looks at the
            nearest lists alone, so that a neighbour may be missed. The share that is found is
            measured while fitting and stands in the record of the run as `recall`.
        lists: Lists of "ivf", 1 or more; "auto" is the root of the number of rows.
        probes: Lists of "ivf" that are looked at for each row, and more until they hold 10 k
            training rows; as many as `lists` is exact.
        seed: Draws the rows that "ivf" learns its lists from.
    """

    k: Count = 50
    normalise: bool = True
    fraction: Share = 1.0
    index: Literal["exact", "ivf"] = "exact"
    lists: Count | Literal["auto"] = "auto"
    probes: Count = 32
    seed: Seed = 0


class KNN(PairMethod[Config]):
    """Scores rows by the distance to their k-th nearest training feature."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("bank_", 1)
    _consumer: Neighbours | None = None

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the training features.

        Raises:
            ConfigError: If there are fewer than `k` training rows.
        """
        config = self.config
        bank = training_features(
            inputs,
            normalise=config.normalise,
            fraction=config.fraction,
            shared=config.index == "exact",
        )
        self._consumer = Neighbours(bank, config.k, "methods.knn.k")
        self.bank_ = bank.rows
        if config.index == "ivf":
            wanted = config.lists if isinstance(config.lists, int) else math.isqrt(len(bank))
            lists = InvertedLists.of(bank.rows, wanted, config.seed)
            self.bank_, self.centroids_, self.ends_ = lists.rows, lists.centroids, lists.ends
            recall = lists.recall(config.k, config.probes)
            self.recall_ = torch.tensor(recall, dtype=torch.float64, device=bank.rows.device)
            self._consumer = None
        return self

    def consumer(self) -> Neighbours | None:
        """The search for the k-th neighbour; None where FAISS or an index searches by itself."""
        searcher = self._searcher()
        return None if searcher.asks_faiss or self.config.index != "exact" else searcher

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        searcher = self._searcher()
        if self.config.index == "exact" or is_written():
            return searcher.distances(batch)
        lists = InvertedLists(
            self.learned("bank_"), self.learned("centroids_"), self.learned("ends_")
        )
        queries = searcher.bank.prepare(batch)
        return lists.distances(queries, self.config.k, self.config.probes)

    def derived(self) -> dict[str, float]:
        """The share of the exact neighbours that an approximate index finds."""
        return {} if self.config.index == "exact" else {"recall": float(self.learned("recall_"))}

    @classmethod
    def score_many(cls, detectors: Sequence[Self], batch: FeatureBatch) -> ManyScores:
        """Scores of many settings, [S, N]; one exact search in a bank serves every k."""
        if any(detector.config.index != "exact" for detector in detectors):
            return super().score_many(detectors, batch)
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
