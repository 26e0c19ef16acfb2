"""Principal subspaces of the training features, and what lies outside of them.

Sources: seen from the origin of the classifier, Wang, Li, Feng and Zhang, "ViM:
Out-Of-Distribution with Virtual-logit Matching", CVPR 2022 (arXiv:2203.10807), sections
3 and 4; of standardised features, Ammar, Belkhir, Popescu, Manzanera and Franchi, "NECO:
NEural Collapse Based Out-of-distribution detection", ICLR 2024 (arXiv:2310.06823). All
directions are found once per `FitInputs`; a method takes the first or the last of them,
so that another dimension costs no second decomposition.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ltood.core.batches import Features
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.limits import Count
from ltood.ops.blas import symmetric_eigen
from ltood.ops.gaussian import RELATIVE_FLOOR, tied_gaussian
from ltood.ops.lengths import lengths
from ltood.ops.statistics import WIDE_ROWS

#: Number of principal directions, or the paper's choice by feature width.
Dim = Count | Literal["auto"]


@dataclass(frozen=True)
class Eigenbasis:
    """Directions in feature space, those along which the training rows spread most first.

    Attributes:
        origin: Point that rows are measured from, [D] float64.
        values: Mean squares along the directions in descending order, [D] float64.
        directions: Orthonormal columns, [D, D] float64.
    """

    origin: Tensor
    values: Tensor
    directions: Tensor

    @property
    def rank(self) -> int:
        """Number of directions along which the training rows differ from the origin."""
        return _rank(self.values)


def _rank(values: Tensor) -> int:
    """How many variances, in descending order, are more than rounding."""
    return int((values > RELATIVE_FLOOR * values[0].clamp(min=0)).sum())


def head_origin(head: ClassifierHead) -> Tensor:
    """Feature that gives logits as near to zero as the head can, [D] float64.

    This is -pinv(W) b. Singular values are cut relative to the largest: heads drift towards
    weights that sum to zero over the classes, and with such a head an absolute cut-off, or one
    at the precision of float64, divides by rounding noise of its float32 weights.
    """
    relative_noise = max(head.weight.shape) * torch.finfo(torch.float32).eps
    weight, bias = head.weight.double(), head.bias.double()
    # The Gram matrix of the classes or of the features, whichever is smaller: its eigenvalues are
    # the squares of the singular values, and float64 holds those above the cut-off to 8 digits.
    is_wide = weight.shape[0] <= weight.shape[1]
    gram = weight @ weight.T if is_wide else weight.T @ weight
    values, vectors = symmetric_eigen(gram)
    kept = values > relative_noise**2 * values[-1].clamp(min=0)
    basis, values = vectors[:, kept], values[kept]
    seen = bias if is_wide else weight.T @ bias
    solved = basis @ ((basis.T @ seen) / values)
    return -(weight.T @ solved if is_wide else solved)


def eigenbasis(inputs: FitInputs) -> Eigenbasis:
    """Eigenvectors of the training rows' second moment about the head's origin, once.

    Args:
        inputs: What there is to learn from; needs the training rows and the head.

    Raises:
        MissingNeedError: If there are no training rows or no head.
        DataError: If a training label is not a valid class or there are no rows.
    """
    head = inputs.require_head()

    def compute() -> Eigenbasis:
        model = tied_gaussian(inputs)
        origin = head_origin(head)
        shift = model.classes.mean - origin
        values, directions = symmetric_eigen(
            model.total_covariance + shift[:, None] * shift[None, :]
        )
        return Eigenbasis(origin, values.flip(0), directions.flip(1))

    return inputs.cached("eigenbasis", compute)


def principal_dim(dim: Dim, basis: Eigenbasis, where: str) -> int:
    """Turn the setting into a number of principal directions.

    "auto" is the paper's choice (section 5): 1000 from 2048 features on, 512 from 768
    on. Narrower features have half of their width. Where the training rows span no more
    directions than that, half of those they span.

    Args:
        dim: A number or "auto".
        basis: From `eigenbasis`.
        where: The setting's path, such as "methods.vim.dim".

    Returns:
        A number from 0 to D - 1.

    Raises:
        ConfigError: If a given number leaves no residual space.
    """
    width = len(basis.values)
    if isinstance(dim, str):
        chosen = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
        return chosen if chosen < basis.rank else basis.rank // 2
    check_dim_fits(dim, width, where)
    return dim


def check_dim_fits(dim: int, width: int, where: str) -> None:
    """Refuse a principal subspace that leaves no residual space.

    Args:
        dim: Number of principal directions.
        width: Feature width D.
        where: The setting's path, such as "methods.vim.dim".

    Raises:
        ConfigError: Unless `dim` is below `width`.
    """
    if dim >= width:
        raise ConfigError(
            f"{where} is {dim} but the features are {width} wide, which leaves no residual "
            f"space; set it to at most {width - 1}, or to auto."
        )


def residual_norm(features: Features, origin: Tensor, residual_basis: Tensor) -> Tensor:
    """Length of each row's part in the residual space, [N] float64.

    Args:
        features: [N, D].
        origin: Point that rows are measured from, [D] float64.
        residual_basis: Orthonormal columns, [D, D - dim] float64.
    """
    centre, basis = origin.float(), residual_basis.float()
    norms = [lengths((rows - centre) @ basis) for rows in torch.split(features, WIDE_ROWS)]
    return torch.cat(norms).double()


@dataclass(frozen=True)
class StandardisedBasis:
    """Principal components of the training features after standardising each of them.

    Attributes:
        mean: Mean of each feature, [D] float64.
        scale: Standard deviation of each feature, 1 for a constant one, [D] float64.
        values: Variances along the directions in descending order, [D] float64.
        directions: Orthonormal columns, those of most variance first, [D, D] float64.
    """

    mean: Tensor
    scale: Tensor
    values: Tensor
    directions: Tensor

    @property
    def rank(self) -> int:
        """Number of directions along which the training rows vary; the others are arbitrary."""
        return _rank(self.values)


def standardised_basis(inputs: FitInputs) -> StandardisedBasis:
    """Eigenvectors of the training features' correlation matrix, once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If a training label is not a valid class or there are no rows.
    """
    inputs.require_train()

    def compute() -> StandardisedBasis:
        model = tied_gaussian(inputs)
        mean, covariance = model.classes.mean, model.total_covariance
        variance = covariance.diagonal()
        is_constant = variance <= RELATIVE_FLOOR * mean.square()
        scale = torch.where(is_constant, torch.ones_like(mean), variance.clamp(min=0).sqrt())
        values, directions = symmetric_eigen(covariance / (scale[:, None] * scale[None, :]))
        return StandardisedBasis(mean, scale, values.flip(0), directions.flip(1))

    return inputs.cached("standardised_basis", compute)
