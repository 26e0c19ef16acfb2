"""Mahalanobis: distance to the nearest class mean under one shared covariance.

Source: Lee, Lee, Lee and Shin, "A Simple Unified Framework for Detecting
Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018 (arXiv:1807.03888),
on the penultimate features alone. With `normalise` it is the Mahalanobis++ of Mueller
and Hein (ICML 2025, arXiv:2505.18032), and with `normalise` and a `ridge` the
Hyperspherical Pooled Mahalanobis (HPM) of Peng, Chen and Gu for long tails (2026,
arXiv:2605.17799); they are also the entries `mds_plus` and `hpm`. Departures: no change of
the input image and no regression over layers, which need the network; the score is the
squared distance, not minus half of it; classes without training rows are left out.

Formula:
    score = min_c (f - m_c)' S^-1 (f - m_c)
    S shared covariance of training features around their class means, plus ridge * I
"""

from dataclasses import dataclass

from ltood.ops.gaussian import GaussianConfig, TiedGaussian
from ltood.ops.gaussian_methods import NearestMean


@dataclass(frozen=True)
class Config(GaussianConfig):
    """Settings of the Mahalanobis distance, as `GaussianConfig` describes them."""


class Mahalanobis(NearestMean[Config]):
    """Scores rows by their squared distance to the nearest class mean."""

    @property
    def normalises(self) -> bool:
        """As the settings say."""
        return self.config.normalise

    def ridge(self, model: TiedGaussian) -> float:
        """As the settings say."""
        del model
        return self.config.ridge


Entry = Mahalanobis
