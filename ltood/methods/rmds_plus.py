"""Relative Mahalanobis++: relative Mahalanobis distance of features of unit length.

Source: Mueller and Hein, "Mahalanobis++: Improving OOD Detection via Feature Normalization", ICML
2025 (arXiv:2505.18032), who report it beside Mahalanobis++; their code is the repository
mueller-mp/maha-norm. It equals `relative_mahalanobis` with `normalise`. Departure: classes
without training rows are left out.

Formula:
    u = f / |f|
    score = min_c (u - m_c)' S^-1 (u - m_c) - (u - m)' S_0^-1 (u - m)
    S covariance of u around its class means, S_0 around the mean m of all rows
"""

from dataclasses import dataclass

from ltood.core.settings import Settings
from ltood.ops.gaussian import TiedGaussian
from ltood.ops.gaussian_methods import RelativeNearestMean


@dataclass(frozen=True)
class Config(Settings):
    """Relative Mahalanobis++ has no settings."""


class RMDSPlus(RelativeNearestMean[Config]):
    """Scores rows by how much farther their direction is from every class than from all rows."""

    def ridge(self, model: TiedGaussian) -> float:
        """None."""
        del model
        return 0.0


Entry = RMDSPlus
