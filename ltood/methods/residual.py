"""Residual: length of the part of a feature outside the principal subspace.

Source: Wang, Li, Feng and Zhang, "ViM: Out-Of-Distribution with Virtual-logit Matching",
CVPR 2022 (arXiv:2203.10807), section 3. Departures: features less than 768 wide, which
the paper does not use, get half of their width as principal dimension; the cut-off of
the pseudo-inverse is relative (see `ltood.ops.subspace`); no more directions are principal
than the training rows span, as further ones are arbitrary.

Formula:
    score = |R' (f - o)|
    o with W o + b = 0 in the least-squares sense
    R the directions left after the first dim of the second moment of training features about o
"""

from dataclasses import dataclass
from typing import Self

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.subspace import Dim, eigenbasis, principal_dim, residual_norm


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the residual.

    Attributes:
        dim: Number of principal directions, 1 to one less than the feature width;
            "auto" is 1000 from 2048 features on, 512 from 768 on, else half of them. Of
            more than the training rows span, those they span are taken.
    """

    dim: Dim = "auto"


class Residual(Method[Config]):
    """Scores rows by how far they lie off the subspace that holds most training rows."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("origin_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Find the origin and the directions of least spread."""
        basis = eigenbasis(inputs)
        dim = min(principal_dim(self.config.dim, basis, "methods.residual.dim"), basis.rank)
        self.origin_ = basis.origin
        self.residual_basis_ = basis.directions[:, dim:].contiguous()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        return residual_norm(
            batch.features, self.learned("origin_"), self.learned("residual_basis_")
        ).float()

    def derived(self) -> dict[str, float]:
        """The principal dimension."""
        width, left_out = self.learned("residual_basis_").shape
        return {"dim": width - left_out}


Entry = Residual
