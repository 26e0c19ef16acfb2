"""KNN: distance to the k-th nearest training feature.

Source: Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest
Neighbors", ICML 2022 (arXiv:2204.06507). The distance is Euclidean, not squared, so
that thresholds carry over; the search is exact.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from ltood.core.batches import FeatureBatch, FitInputs, Need, Scores
from ltood.core.errors import ConfigError
from ltood.core.slots import Detector
from ltood.ops.neighbours import Neighbours, training_neighbours


@dataclass(frozen=True)
class Config:
    """Settings of KNN.

    Attributes:
        k: Rank of the neighbour whose distance is the score; 1 or more. The paper's
            50 belongs to CIFAR-10; it uses 200 for CIFAR-100 and 1000 for ImageNet.
        normalise: Divide features by their L2 norm first, as the paper does.
    """

    k: int = 50
    normalise: bool = True

    def __post_init__(self) -> None:
        """Check the range."""
        if self.k < 1:
            raise ConfigError(
                f"methods.knn.k is {self.k}; it is the rank of a neighbour, so set it to 1 or more."
            )


class KNN(Detector):
    """Scores rows by the distance to their k-th nearest training feature."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: ClassVar[tuple[str, ...]] = ("features",)

    def __init__(self, config: Config | None = None) -> None:
        """Take the settings."""
        self.config = config or Config()
        self._neighbours: Neighbours | None = None

    def fit(self, inputs: FitInputs) -> Self:
        """Keep all training features.

        Raises:
            ConfigError: If there are fewer than `k` training rows.
        """
        neighbours = training_neighbours(inputs, normalise=self.config.normalise)
        neighbours.reserve(self.config.k, "methods.knn.k")
        self.bank_, self._neighbours = neighbours.bank, neighbours
        return self

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        bank = self.learned("bank_")
        if self._neighbours is None or self._neighbours.bank is not bank:
            # Restored from saved arrays: there is no searcher to share.
            self._neighbours = Neighbours(bank, normalise=self.config.normalise)
            self._neighbours.reserve(self.config.k, "methods.knn.k")
        return self._neighbours.distances(batch, self.config.k)


Entry = KNN
