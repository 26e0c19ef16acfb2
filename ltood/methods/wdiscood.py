"""WDiscOOD: distance to the nearest class where classes differ, and to all rows elsewhere.

Source: Chen, Lin, Xu and Vela, "WDiscOOD: Out-of-Distribution Detection via Whitened Linear
Discriminant Analysis", ICCV 2023 (arXiv:2303.07543); their code is the repository
ivalab/WDiscOOD. Features are whitened by the covariance within classes; the directions along which
class means spread most are discriminative, the others residual. Defaults are the authors' for
ResNet-50; for ViT-B/16 they take `normalise`, 512 directions and weight 1. Departures: all training
rows, where they draw 200,000; directions in which no class varies are left out, as a pseudo-inverse
does, where theirs may take roots of negative rounding errors; classes without training rows
are left out; features of other widths get a number of directions by our rule (see `dim`).
After whitening their ridge of the covariance within classes changes no direction.

Formula:
    g = A' f, A A' the inverse covariance within classes
    G the dim directions along which class means m_c of g spread most, each class counting alike
    H all other directions;  m the mean of g over all rows
    score = min_c |G' (g - m_c)| + weight |H' (g - m)|
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.blas import symmetric_eigen
from ltood.ops.gaussian import min_squared_distance, tied_gaussian, whitening
from ltood.ops.statistics import WIDE_ROWS, prepared


@dataclass(frozen=True)
class Config(Settings):
    """Settings of WDiscOOD.

    Attributes:
        dim: Number of discriminative directions, 1 up to the feature width; "auto" is one less
            than there are classes, which is all that differ, but at most two thirds of the
            directions: 512 of 768, as the authors take for ViT-B/16.
        weight: Of the residual distance, 0 or more.
        normalise: Divide features by their L2 norm first.
    """

    dim: Count | Literal["auto"] = "auto"
    weight: NonNegative = 5.0
    normalise: bool = False


class WDiscOOD(Method[Config]):
    """Scores rows by a distance in the discriminative space and one in the residual space."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("map_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn one map to discriminative and residual coordinates, and the means in them."""
        model = tied_gaussian(inputs, normalise=self.config.normalise)
        whiten = whitening(model.covariance)
        means = model.classes.means[model.classes.present] @ whiten
        centre = model.classes.mean @ whiten
        spread = means - centre
        _, directions = symmetric_eigen(spread.T @ spread)
        directions = directions.flip(1)
        dim = self._dim(len(means), len(whiten), len(directions))
        self.map_ = whiten @ directions
        self.means_ = (means @ directions)[:, :dim]
        self.centre_ = (centre @ directions)[dim:]
        return self

    def _dim(self, num_classes: int, width: int, rank: int) -> int:
        """Number of discriminative directions.

        Raises:
            ConfigError: If a given number exceeds the feature width.
        """
        dim = self.config.dim
        if isinstance(dim, str):
            return max(1, min(num_classes - 1, 2 * rank // 3))
        if dim > width:
            raise ConfigError(
                f"methods.wdiscood.dim is {dim} but the features are {width} wide; set it to at "
                f"most {width}, or to auto."
            )
        return min(dim, rank)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        means = self.learned("means_")
        scores = [batch.features.new_zeros(0)]
        for rows in torch.split(batch.features, WIDE_ROWS):
            points = prepared(rows, self.config.normalise) @ self.learned("map_")
            own, rest = points[:, : means.shape[1]], points[:, means.shape[1] :]
            nearest = min_squared_distance(own, means).sqrt()
            residual: Tensor = vector_norm(rest - self.learned("centre_"), dim=1)
            scores.append((nearest + self.config.weight * residual).float())
        return torch.cat(scores)

    def derived(self) -> dict[str, float]:
        """The number of discriminative directions."""
        return {"dim": self.learned("means_").shape[1]}


Entry = WDiscOOD
