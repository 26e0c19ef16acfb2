"""Relative Mahalanobis: how much farther the nearest class is than the training set at large.

Source: Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan, "A Simple Fix to Mahalanobis
Distance for Improving Near-OOD Detection", 2021 (arXiv:2106.09022), equations 2 and 3.
With `normalise` it is the normalised variant that Mueller and Hein report next to
Mahalanobis++ (ICML 2025, arXiv:2505.18032), which is also the entry `rmds_plus`.
Departure: classes without training rows are left out.

Formula:
    score = min_c (f - m_c)' S^-1 (f - m_c) - (f - m)' S_0^-1 (f - m)
    S covariance around the class means, S_0 around the mean m of all rows
"""

from dataclasses import dataclass

from ltood.ops.gaussian import GaussianConfig, TiedGaussian
from ltood.ops.gaussian_methods import RelativeNearestMean


@dataclass(frozen=True)
class Config(GaussianConfig):
    """Settings of the relative Mahalanobis distance, as `GaussianConfig` describes them."""


class RelativeMahalanobis(RelativeNearestMean[Config]):
    """Scores rows by the squared distance to the nearest class less that to all rows."""

    @property
    def normalises(self) -> bool:
        """As the settings say."""
        return self.config.normalise

    def ridge(self, model: TiedGaussian) -> float:
        """As the settings say."""
        del model
        return self.config.ridge


Entry = RelativeMahalanobis
