"""Mahalanobis: distance to the nearest class mean under one shared covariance.

Source: Lee, Lee, Lee and Shin, "A Simple Unified Framework for Detecting
Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018 (arXiv:1807.03888),
on the penultimate features alone. With `normalise` it is the Mahalanobis++ of Mueller
and Hein (ICML 2025, arXiv:2505.18032), and with `normalise` and a `ridge` the
Hyperspherical Pooled Mahalanobis (HPM) of Peng, Chen and Gu for long tails (2026,
arXiv:2605.17799), which they score on a classifier whose training corrects for the class
prior; HPM therefore has no entry of its own. Departures: no change of the input image and no
regression over layers, which need the network; the score is the squared distance, not
minus half of it; classes without training rows are left out.

Formula:
    score = min_c (f - m_c)' S^-1 (f - m_c)
    S shared covariance of training features around their class means, plus ridge * I
"""

from dataclasses import dataclass
from typing import Self

from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.slots import Method
from ltood.ops.gaussian import (
    GaussianConfig,
    mahalanobis,
    tied_gaussian,
    triangular_whitening,
)


@dataclass(frozen=True)
class Config(GaussianConfig):
    """Settings of the Mahalanobis distance, as `GaussianConfig` describes them."""


class Mahalanobis(Method[Config]):
    """Scores rows by their squared distance to the nearest class mean."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("whitening_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the whitening map and the whitened means of the classes with rows."""
        model = tied_gaussian(inputs, normalise=self.config.normalise)
        self.whitening_ = triangular_whitening(model.covariance, self.config.ridge)
        self.means_ = model.classes.means[model.classes.present] @ self.whitening_
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        features = batch.features
        if self.config.normalise:
            features = normalize(features.double(), dim=1)
        return mahalanobis(features, self.learned("whitening_"), self.learned("means_")).float()


Entry = Mahalanobis
