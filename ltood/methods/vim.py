"""ViM: energy with one more logit, made from the part outside the principal subspace.

Source: Wang, Li, Feng and Zhang, "ViM: Out-Of-Distribution with Virtual-logit Matching",
CVPR 2022 (arXiv:2203.10807), equations 5 to 7. Departures: the score is the logit of the
paper's probability, which orders rows alike and never saturates; features less than 768
wide, which the paper does not use, get half of their width as principal dimension; the
scale comes from all training rows, not from a sample; the cut-off of the pseudo-inverse
is relative (see `ltood.ops.subspace`).

Formula:
    score = alpha r(f) - logsumexp(z)
    r the length outside the principal subspace (see residual)
    alpha = sum of the largest logits / sum of r, over the training rows
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource, Scores
from ltood.core.crew import ALONE, Crew
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import energy
from ltood.ops.subspace import (
    Dim,
    Eigenbasis,
    eigenbasis,
    principal_dim,
    residual_norm,
)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ViM.

    Attributes:
        dim: Number of principal directions, 1 to one less than the feature width;
            "auto" is 1000 from 2048 features on, 512 from 768 on, else half of them.
    """

    dim: Dim = "auto"


class ViM(Method[Config]):
    """Scores rows by their virtual logit less the log-sum-exp of the real ones."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("origin_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Find origin, residual space and the scale of the virtual logit."""
        basis = eigenbasis(inputs)
        dim = principal_dim(self.config.dim, basis, "methods.vim.dim")
        self.origin_ = basis.origin
        self.residual_basis_ = basis.directions[:, dim:].contiguous()
        self.scale_ = inputs.cached(
            ("virtual_logit_scale", dim),
            lambda: virtual_logit_scale(inputs.require_train(), basis, dim, inputs.crew),
        )
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD."""
        norms = residual_norm(
            batch.features, self.learned("origin_"), self.learned("residual_basis_")
        )
        return (self.learned("scale_") * norms).float() + energy(batch.logits)

    def derived(self) -> dict[str, float]:
        """The principal dimension and the scale of the virtual logit."""
        width, left_out = self.learned("residual_basis_").shape
        return {"dim": width - left_out, "scale": float(self.learned("scale_"))}


def virtual_logit_scale(
    train: FeatureSource, basis: Eigenbasis, dim: int, crew: Crew = ALONE
) -> Tensor:
    """Sum of the largest logits over sum of the residual norms of the rows, 0-d float64.

    Args:
        train: Training rows with logits.
        basis: Their principal directions.
        dim: Number of principal directions.
        crew: Processes that share the rows.

    Raises:
        DataError: If the training rows have no part in the residual space.
    """
    if dim >= basis.rank:
        raise DataError(
            f"vim's principal subspace of {dim} directions holds all training features, which "
            f"span {basis.rank}, so the virtual logit has no scale; lower methods.vim.dim or use "
            "more training rows."
        )
    residual_basis = basis.directions[:, dim:].contiguous()

    def of_own() -> Tensor:
        largest = norms = basis.values.new_zeros(())
        for batch in crew.batches(train, ("features", "logits")):
            largest = largest + batch.logits.amax(dim=1).double().sum()
            norms = norms + residual_norm(batch.features, basis.origin, residual_basis).sum()
        return torch.stack([largest, norms])

    total = crew.total(of_own)
    return total[0] / total[1]


Entry = ViM
