"""Gaussian class models with one shared covariance, in float64.

Squared Mahalanobis distances become plain squared distances after one matrix product:
the eigen-decomposition of the covariance gives a whitening map. Directions without
variance are left out, as a pseudo-inverse does, with a cut-off relative to the largest
eigenvalue; an absolute one blows up on rank-deficient data such as few-shot sets.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.batches import Features
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.ops.blas import add_gram, inverse_lower, symmetric, symmetric_eigen, times_upper
from ltood.ops.statistics import WIDE_ROWS, ClassStatistics, class_statistics, prepared

#: Eigenvalues below this share of the largest one count as zero. Well above the rounding
#: noise of a float64 covariance, well below the spread of real ones (about 1e-9).
RELATIVE_FLOOR = 1e-12

#: Variances that lie further apart, such as those of a feature in other units, are taken in
#: units of each feature's own deviation before directions are dropped.
WIDE_SPREAD = 1e-8

#: Rows that are added to a Gram matrix at once.
GRAM_ROWS = 1024

#: Pivots of a Cholesky factor below this share of the largest leave the rank in doubt:
#: then an eigen-decomposition decides it.
PIVOT_FLOOR = 1e-9

#: Most distances [rows, classes] held at once; bounds memory, not results.
CHUNK_VALUES = 2**24


@dataclass(frozen=True)
class GaussianConfig(Settings):
    """Settings of methods with one covariance.

    Attributes:
        ridge: Added to the diagonal of the covariance, in squared feature units;
            0 or more. At 0 directions without variance are ignored.
        normalise: Divide features by their L2 norm before everything else.
    """

    ridge: NonNegative = 0.0
    normalise: bool = False


@dataclass(frozen=True)
class TiedGaussian:
    """Class means and the covariance around them, shared by all classes.

    Attributes:
        classes: Counts and sums of each class.
        covariance: Mean of (f - own class mean)(...)^T over all rows, [D, D] float64.
    """

    classes: ClassStatistics
    covariance: Tensor

    @property
    def total_covariance(self) -> Tensor:
        """Mean of (f - overall mean)(...)^T over all rows, [D, D] float64."""
        between = self.classes.means - self.classes.mean
        shares = self.classes.counts.double() / self.classes.num_rows
        added = torch.zeros_like(self.covariance)
        add_gram(added, between * shares.sqrt()[:, None])
        return self.covariance + symmetric(added)


def tied_gaussian(inputs: FitInputs, *, normalise: bool = False) -> TiedGaussian:
    """Class means and shared covariance of the training features, once per `inputs`.

    Squares of raw features would cancel, so rows are measured from the overall mean; what the
    class means add to that is subtracted at the end, which costs digits only where classes lie
    many thousand deviations apart, and float64 has them to spare. The covariance divides by N,
    the maximum-likelihood estimate of the published methods.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide each feature vector by its L2 norm first.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If a training label is not a valid class or there are no rows.
    """
    source = inputs.require_train()

    def compute() -> TiedGaussian:
        classes = class_statistics(inputs, normalise=normalise)
        centre = classes.mean

        def of_own() -> Tensor:
            own = centre.new_zeros((source.dim, source.dim))
            for batch in inputs.crew.batches(source, ("features",)):
                for rows in torch.split(batch.features, GRAM_ROWS):
                    add_gram(own, prepared(rows, normalise).sub_(centre))
            return own

        scatter = inputs.crew.total(of_own)
        between = torch.zeros_like(scatter)
        add_gram(between, (classes.means - centre) * classes.counts.double().sqrt()[:, None])
        within = symmetric(scatter - between)
        # Where a feature never varies within a class, rounding leaves a trace of either sign.
        rounding = math.sqrt(classes.num_rows) * 8 * torch.finfo(within.dtype).eps
        # And one that never varies at all is off its own mean by a rounding, in each row.
        trace = rounding * scatter.diagonal() + classes.num_rows * (rounding * centre).square()
        is_constant = within.diagonal() <= trace
        within[is_constant], within[:, is_constant] = 0, 0
        return TiedGaussian(classes, within / classes.num_rows)

    return inputs.cached(("tied_gaussian", normalise), compute)


def whitening(covariance: Tensor, ridge: float = 0.0) -> Tensor:
    """Map to coordinates in which `covariance` + ridge I is the identity.

    Args:
        covariance: Symmetric, [D, D] float64.
        ridge: Added to the diagonal; 0 or more.

    Returns:
        Whitening map A, [D, r] float64, r the numerical rank: A A^T is the inverse, or
        the pseudo-inverse where the rank is not full. Its columns are orthogonal, unless one
        feature is so much wider than others that it would hide them.

    Raises:
        DataError: If no direction has any variance.
    """
    ridged = _ridged(covariance, ridge)
    values, vectors = symmetric_eigen(ridged)
    kept = values > RELATIVE_FLOOR * values[-1]
    if not kept.any():
        raise DataError(
            "the training features do not vary within their classes, so distances have no "
            "scale; use more training rows, or a method without a covariance, such as knn "
            "(mahalanobis and relative_mahalanobis also take a ridge above 0)."
        )
    plain: Tensor = vectors[:, kept] / values[kept].sqrt()
    if kept.all():
        return plain
    variances = ridged.diagonal()
    varies = variances > 0
    if variances.amax() * WIDE_SPREAD < variances[varies].amin():
        return plain
    # In units of each feature's own deviation a wide feature hides no other.
    units = torch.where(varies, variances, 1).rsqrt() * varies
    values, vectors = symmetric_eigen(units[:, None] * ridged * units)
    kept = values > RELATIVE_FLOOR * values[-1]
    scaled: Tensor = units[:, None] * vectors[:, kept] / values[kept].sqrt()
    return scaled if scaled.shape[1] > plain.shape[1] else plain


def triangular_whitening(covariance: Tensor, ridge: float = 0.0) -> Tensor:
    """Like `whitening`, but upper triangular where the rank is full beyond doubt.

    A Cholesky factor costs a fraction of the eigenvectors, and `times_upper` skips the half
    that is zero. Distances are the same.

    Args:
        covariance: Symmetric, [D, D] float64.
        ridge: Added to the diagonal; 0 or more.

    Returns:
        Whitening map A, [D, r] float64, with A A^T the (pseudo-)inverse.

    Raises:
        DataError: If no direction has any variance.
    """
    ridged = _ridged(covariance, ridge)
    factor, failed = torch.linalg.cholesky_ex(ridged)
    pivots = factor.diagonal().square()
    if failed or not pivots.amin() > PIVOT_FLOOR * pivots.amax():
        return whitening(covariance, ridge)
    # Sigma = L L^T, so its inverse is A A^T with A = L^-T.
    return inverse_lower(factor).T.contiguous()


def _ridged(covariance: Tensor, ridge: float) -> Tensor:
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return covariance + ridge * identity


def _whitened_copy(rows: Features, whitening_map: Tensor, triangular: bool) -> Tensor:
    """Rows of any type times a map that is known to be triangular or not, [n, r] float64."""
    wide = rows.to(torch.float64, copy=True)
    return times_upper(wide, whitening_map, overwrite=True) if triangular else wide @ whitening_map


def is_triangular(whitening_map: Tensor) -> bool:
    """Whether a whitening map, [D, r], is square with zeros below its diagonal."""
    dim, rank = whitening_map.shape
    return dim == rank and not bool(whitening_map.tril(-1).any())


def min_squared_distance(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distance of each point to its nearest centre, [N] float64.

    Args:
        points: [N, r] float64.
        centres: [K, r] float64.
    """
    offset = centres.square().sum(dim=1)
    rows = max(1, CHUNK_VALUES // len(centres))
    nearest = [
        torch.addmm(offset, block, centres.T, alpha=-2).amin(dim=1) + block.square().sum(dim=1)
        for block in torch.split(points, rows)
    ]
    return torch.cat(nearest).clamp(min=0) if nearest else points.new_zeros(0)


def mahalanobis(features: Features, whitening_map: Tensor, whitened_means: Tensor) -> Tensor:
    """Squared Mahalanobis distance of each row to its nearest mean, [N] float64.

    Args:
        features: [N, D], already normalised where the model was.
        whitening_map: From `triangular_whitening`, [D, r].
        whitened_means: Class means times `whitening_map`, [K, r].
    """
    triangular = is_triangular(whitening_map)
    # Blocks that stay in the cache save the float64 copies a way to memory and back.
    distances = [
        min_squared_distance(_whitened_copy(rows, whitening_map, triangular), whitened_means)
        for rows in torch.split(features, WIDE_ROWS)
    ]
    return torch.cat(distances)


def between_directions(model: TiedGaussian, whitening_map: Tensor) -> Tensor | None:
    """Directions in which the distance to all rows differs from that to a class, if they are few.

    In whitened coordinates the covariance of all rows is I + M^T M, M holding the weighted
    deviations of the C class means, and its inverse I - L^T L with as many rows in L (Woodbury).

    Args:
        model: Class means and shared covariance.
        whitening_map: From `triangular_whitening`, [D, r].

    Returns:
        L, [C, r] float64; None where the rank is in doubt, since two pseudo-inverses then leave
        out other directions, or where the classes are too many to gain from it.
    """
    classes = model.classes
    present = classes.present
    if not is_triangular(whitening_map) or 2 * int(present.sum()) > len(whitening_map):
        return None
    shares = classes.counts[present].double() / classes.num_rows
    deviations = (classes.means[present] - classes.mean) * shares.sqrt()[:, None]
    spread = deviations @ whitening_map
    identity = torch.eye(len(spread), dtype=spread.dtype, device=spread.device)
    factor = torch.linalg.cholesky(identity + spread @ spread.T)
    directions: Tensor = torch.linalg.solve_triangular(factor, spread, upper=False)
    return directions


def relative_mahalanobis(
    features: Features,
    whitening_map: Tensor,
    whitened_means: Tensor,
    whitened_mean: Tensor,
    directions: Tensor,
) -> Tensor:
    """Squared distance to the nearest class less that to all rows, [N] float64.

    The squared length of a whitened row is part of both and never computed.

    Args:
        features: [N, D], already normalised where the model was.
        whitening_map: From `triangular_whitening`, [D, r].
        whitened_means: Class means times `whitening_map`, [K, r].
        whitened_mean: Mean of all rows times `whitening_map`, [1, r].
        directions: From `between_directions`, [C, r].
    """
    num = len(whitened_means)
    joined = torch.cat([whitened_means, whitened_mean, directions])
    offset = joined.square().sum(dim=1)
    shift = (directions @ whitened_mean.T)[:, 0]
    scores = []
    for rows in torch.split(features, WIDE_ROWS):
        products = _whitened_copy(rows, whitening_map, True) @ joined.T
        nearest = torch.add(offset[:num], products[:, :num], alpha=-2).amin(dim=1)
        centre = offset[num] - 2 * products[:, num]
        along = (products[:, num + 1 :] - shift).square().sum(dim=1)
        scores.append(nearest - (centre - along))
    return torch.cat(scores) if scores else features.new_zeros(0, dtype=torch.float64)
