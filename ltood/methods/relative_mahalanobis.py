"""Relative Mahalanobis: how much farther the nearest class is than the training set at large.

Source: Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan, "A Simple Fix to Mahalanobis
Distance for Improving Near-OOD Detection", 2021 (arXiv:2106.09022), equations 2 and 3.
With `normalise` it is the normalised variant that Mueller and Hein report beside
Mahalanobis++ (ICML 2025, arXiv:2505.18032). Departure: classes without training rows
are left out.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from torch.nn.functional import normalize

from ltood.core.detector import Detector
from ltood.core.errors import ConfigError
from ltood.core.types import FeatureBatch, FitInputs, Need, Scores
from ltood.ops.gaussian import mahalanobis, tied_gaussian, triangular_whitening


@dataclass(frozen=True)
class Config:
    """Settings of the relative Mahalanobis distance.

    Attributes:
        ridge: Added to the diagonal of both covariances, in squared feature units;
            0 or more. At 0 directions without variance are ignored.
        normalise: Divide features by their L2 norm before everything else.
    """

    ridge: float = 0.0
    normalise: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 <= self.ridge < math.inf:
            raise ConfigError(
                f"methods.relative_mahalanobis.ridge is {self.ridge}; it is added to variances, "
                "so set it to 0 or more (the paper uses 0)."
            )


class RelativeMahalanobis(Detector):
    """Scores rows by the squared distance to the nearest class less that to all rows.

    The second Gaussian knows no classes: its mean and covariance are those of all
    training rows together, so that directions common to every image cancel.
    """

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: ClassVar[tuple[str, ...]] = ("features",)

    def __init__(self, config: Config | None = None) -> None:
        """Take the settings."""
        self.config = config or Config()

    def fit(self, inputs: FitInputs) -> Self:
        """Learn one whitening map and its whitened means for the classes and for all rows."""
        model = tied_gaussian(inputs, normalise=self.config.normalise)
        self.whitening_ = triangular_whitening(model.covariance, self.config.ridge)
        self.means_ = model.classes.means[model.classes.present] @ self.whitening_
        self.background_whitening_ = triangular_whitening(model.total_covariance, self.config.ridge)
        self.background_mean_ = model.classes.mean[None] @ self.background_whitening_
        return self

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD."""
        features = batch.features
        if self.config.normalise:
            features = normalize(features.double(), dim=1)
        nearest = mahalanobis(features, self.learned("whitening_"), self.learned("means_"))
        background = mahalanobis(
            features, self.learned("background_whitening_"), self.learned("background_mean_")
        )
        return (nearest - background).float()


Entry = RelativeMahalanobis
