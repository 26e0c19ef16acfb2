"""Mahalanobis++: Mahalanobis distance of features of unit length.

Source: Mueller and Hein, "Mahalanobis++: Improving OOD Detection via Feature Normalization", ICML
2025 (arXiv:2505.18032); their code is the repository mueller-mp/maha-norm. It equals `mahalanobis`
with `normalise`, and stands here under the name of its paper. Departure: classes without
training rows are left out.

Formula:
    u = f / |f|
    score = min_c (u - m_c)' S^-1 (u - m_c)
    m_c class means of u, S shared covariance of u around them
"""

from dataclasses import dataclass

from ltood.core.settings import Settings
from ltood.ops.gaussian import TiedGaussian
from ltood.ops.gaussian_methods import NearestMean


@dataclass(frozen=True)
class Config(Settings):
    """Mahalanobis++ has no settings."""


class MDSPlus(NearestMean[Config]):
    """Scores rows by the squared distance of their direction to the nearest class mean."""

    def ridge(self, model: TiedGaussian) -> float:
        """None."""
        del model
        return 0.0


Entry = MDSPlus
