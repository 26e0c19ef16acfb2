"""NECO: share of a feature's length that lies in the subspace of neural collapse.

Source: Ammar, Belkhir, Popescu, Manzanera and Franchi, "NECO: NEural Collapse Based
Out-of-distribution detection", ICLR 2024 (arXiv:2310.06823), equation 7. Features are
standardised before the principal components are taken, as the authors do. Their code multiplies
the share by the largest logit for every network but ResNets. Features do not say which network
they come from, so the product is the default here; `max_logit: false` is what the authors do for
a ResNet. Departures: both lengths are those of standardised features for every network, where
the authors divide by the raw length for DeiT and Swin; their dimension, tuned for each network,
is 100 or half of the feature width by default; components along which no training row varies, as
where rows are fewer than features, are arbitrary and never taken.

Formula:
    x = (f - mean) / standard deviation of each training feature
    P the first dim principal components of x
    score = -|P x| / |x| max_c z_c, the last factor with max_logit only
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import max_logit
from ltood.ops.subspace import Dim, check_dim_fits, standardised_basis

#: Default number of principal components, where features are at least twice as wide.
DIM = 100


@dataclass(frozen=True)
class Config(Settings):
    """Settings of NECO.

    Attributes:
        dim: Number of principal components, 1 to one less than the feature width;
            "auto" is 100, or half of the width where that is less. Where the training rows
            vary along fewer directions, all of those are taken.
        max_logit: Multiply the share by the largest logit, as the authors do for every
            network but ResNets.
    """

    dim: Dim = "auto"
    max_logit: bool = True


class NECO(Method[Config]):
    """Scores rows by how little of them the first principal components hold."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("mean_", 0)

    def _configure(self) -> None:
        """Take the settings; without the largest logit no logits are read."""
        if not self.config.max_logit:
            self.arrays = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn mean and scale of each feature and the principal components."""
        basis = standardised_basis(inputs)
        width = len(basis.mean)
        if isinstance(self.config.dim, str):
            dim = min(DIM, max(1, width // 2))
        else:
            dim = self.config.dim
            check_dim_fits(dim, width, "methods.neco.dim")
        dim = min(dim, max(1, basis.rank))
        self.mean_, self.feature_scale_ = basis.mean, basis.scale
        self.components_ = basis.directions[:, :dim].contiguous()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, from -1 to 0 without `max_logit`; higher means more OOD."""
        standardised = (batch.features.double() - self.learned("mean_")) / self.learned(
            "feature_scale_"
        )
        inside = vector_norm(standardised @ self.learned("components_"), dim=1)
        # A row at the mean has no length at all; the smallest float makes its share 0.
        whole = vector_norm(standardised, dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        share: Tensor = (inside / whole).float()
        if self.config.max_logit:
            share = share * max_logit(batch.logits)
        return -share

    def derived(self) -> dict[str, float]:
        """The number of principal components."""
        return {"dim": self.learned("components_").shape[1]}


Entry = NECO
