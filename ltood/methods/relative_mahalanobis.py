"""Relative Mahalanobis: how much farther the nearest class is than the training set at large.

Source: Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan, "A Simple Fix to Mahalanobis
Distance for Improving Near-OOD Detection", 2021 (arXiv:2106.09022), equations 2 and 3.
With `normalise` it is the normalised variant that Mueller and Hein report next to
Mahalanobis++ (ICML 2025, arXiv:2505.18032). Departure: classes without training rows
are left out.

Formula:
    score = min_c (f - m_c)' S^-1 (f - m_c) - (f - m)' S_0^-1 (f - m)
    S covariance around the class means, S_0 around the mean m of all rows
"""

from dataclasses import dataclass
from typing import Self

from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.slots import Method
from ltood.ops.gaussian import (
    GaussianConfig,
    between_directions,
    mahalanobis,
    relative_mahalanobis,
    tied_gaussian,
    triangular_whitening,
)


@dataclass(frozen=True)
class Config(GaussianConfig):
    """Settings of the relative Mahalanobis distance, as `GaussianConfig` describes them."""


class RelativeMahalanobis(Method[Config]):
    """Scores rows by the squared distance to the nearest class less that to all rows.

    The second Gaussian knows no classes: its mean and covariance are those of all
    training rows together, so that directions common to every image cancel.
    """

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("whitening_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn one whitening map and its whitened means for the classes and for all rows."""
        model = tied_gaussian(inputs, normalise=self.config.normalise)
        self.whitening_ = triangular_whitening(model.covariance, self.config.ridge)
        self.means_ = model.classes.means[model.classes.present] @ self.whitening_
        directions = between_directions(model, self.whitening_)
        if directions is not None:
            self.directions_ = directions
            self.mean_ = model.classes.mean[None] @ self.whitening_
        else:
            covariance = model.total_covariance
            self.background_whitening_ = triangular_whitening(covariance, self.config.ridge)
            self.background_mean_ = model.classes.mean[None] @ self.background_whitening_
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD."""
        features = batch.features
        if self.config.normalise:
            features = normalize(features.double(), dim=1)
        class_args = (self.learned("whitening_"), self.learned("means_"))
        if "directions_" in vars(self):
            mean, directions = self.learned("mean_"), self.learned("directions_")
            return relative_mahalanobis(features, *class_args, mean, directions).float()
        background = mahalanobis(
            features, self.learned("background_whitening_"), self.learned("background_mean_")
        )
        return (mahalanobis(features, *class_args) - background).float()


Entry = RelativeMahalanobis
