"""Methods that measure rows by Gaussian class models with one covariance, under several names.

What differs between them is whether features are divided by their lengths, and the ridge.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.entry import C
from ltood.core.inputs import FitInputs, Need
from ltood.core.slots import Method
from ltood.ops.gaussian import (
    TiedGaussian,
    between_directions,
    mahalanobis,
    relative_mahalanobis,
    tied_gaussian,
    triangular_whitening,
)


class GaussianMethod(Method[C], ABC):
    """Learns a whitening map and the whitened means of the classes with rows."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("whitening_", 0)

    @property
    def normalises(self) -> bool:
        """Whether features are divided by their L2 norm before everything else."""
        return True

    @abstractmethod
    def ridge(self, model: TiedGaussian) -> float:
        """What is added to the diagonals of the covariances; 0 or more."""

    def _learn(self, inputs: FitInputs) -> TiedGaussian:
        model = tied_gaussian(inputs, normalise=self.normalises)
        self.whitening_ = triangular_whitening(model.covariance, self.ridge(model))
        self.means_ = model.classes.means[model.classes.present] @ self.whitening_
        return model

    def _prepared(self, batch: FeatureBatch) -> Tensor:
        features = batch.features
        return normalize(features.double(), dim=1) if self.normalises else features


class NearestMean(GaussianMethod[C]):
    """Scores rows by their squared distance to the nearest class mean."""

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the whitening map and the whitened means of the classes with rows."""
        self._learn(inputs)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        features = self._prepared(batch)
        return mahalanobis(features, self.learned("whitening_"), self.learned("means_")).float()


class RelativeNearestMean(GaussianMethod[C]):
    """Scores rows by the squared distance to the nearest class less that to all rows.

    The second Gaussian knows no classes: its mean and covariance are those of all
    training rows together, so that directions common to every image cancel.
    """

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn one whitening map and its whitened means for the classes and for all rows."""
        model = self._learn(inputs)
        directions = between_directions(model, self.whitening_)
        if directions is not None:
            self.directions_ = directions
            self.mean_ = model.classes.mean[None] @ self.whitening_
        else:
            ridge = self.ridge(model)
            self.background_whitening_ = triangular_whitening(model.total_covariance, ridge)
            self.background_mean_ = model.classes.mean[None] @ self.background_whitening_
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD."""
        features = self._prepared(batch)
        class_args = (self.learned("whitening_"), self.learned("means_"))
        if "directions_" in vars(self):
            mean, directions = self.learned("mean_"), self.learned("directions_")
            return relative_mahalanobis(features, *class_args, mean, directions).float()
        background = mahalanobis(
            features, self.learned("background_whitening_"), self.learned("background_mean_")
        )
        return (mahalanobis(features, *class_args) - background).float()


def relative_ridge(covariance: Tensor, share: float) -> float:
    """A share of the mean variance of the features.

    Args:
        covariance: [D, D].
        share: 0 or more.
    """
    return share * float(torch.trace(covariance)) / len(covariance)
