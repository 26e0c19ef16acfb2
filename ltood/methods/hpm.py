"""HPM: Mahalanobis distance on the unit sphere under one ridge covariance, for long tails.

Source: Peng, Chen and Gu, "Is Complex Training Necessary for Long-Tailed OOD Detection? A Re-think
from Feature Geometry", 2026 (arXiv:2605.17799), Hyperspherical Pooled Mahalanobis. The
authors score a network whose training corrects for the class prior, such as our recipe
`logit_adjustment`; no code of theirs was found. Departures: the ridge is ours, a share of the mean
variance; its default was chosen by holding classes out (docs/results/long-tail.md), never by
OOD data, and so was the rule of "auto" (docs/results/few-pictures.md); classes without training
rows are left out. It equals `mahalanobis` with `normalise` and that ridge.

Formula:
    u = f / |f|
    score = min_c (u - m_c)' (S + r tr(S) / D I)^-1 (u - m_c)
    m_c class means of u, S shared covariance of u around them
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.ops.gaussian import TiedGaussian
from ltood.ops.gaussian_methods import NearestMean, relative_ridge

#: Ridge of features with many rows.
_LEAST = 0.1


@dataclass(frozen=True)
class Config(Settings):
    """Settings of HPM.

    Attributes:
        ridge: Added to the diagonal of the covariance, as a share of the mean variance of the
            unit features; 0 or more. At 0 it is Mahalanobis++; "auto" is the width of the features
            over the training rows less their classes, and at least 0.1.
    """

    ridge: NonNegative | Literal["auto"] = _LEAST


class HPM(NearestMean[Config]):
    """Scores rows by the squared distance of their direction to the nearest class mean."""

    ridge_: Tensor

    def ridge(self, model: TiedGaussian) -> float:
        """A share of the mean variance, so that it suits features of any width."""
        share = self.config.ridge
        if share == "auto":
            share = _for_rows(model)
            self.ridge_ = model.covariance.new_tensor(share)
        return relative_ridge(model.covariance, share)

    def derived(self) -> dict[str, float]:
        """The ridge, where it follows from the training rows."""
        return {"ridge": float(self.ridge_)} if "ridge_" in vars(self) else {}


def _for_rows(model: TiedGaussian) -> float:
    """Ridge by the rows of the covariance, whose directions are chance where these are few."""
    classes = model.classes
    rows = classes.num_rows - int(classes.present.sum())
    return max(_LEAST, len(model.covariance) / max(rows, 1))


Entry = HPM
