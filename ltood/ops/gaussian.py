"""Gaussian class models with one shared covariance, in float64.

Squared Mahalanobis distances become plain squared distances after one matrix product:
the eigen-decomposition of the covariance gives a whitening map. Directions without
variance are left out, as a pseudo-inverse does, with a cut-off relative to the largest
eigenvalue; an absolute one blows up on rank-deficient data such as few-shot sets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.errors import DataError
from ltood.core.types import Features, FitInputs
from ltood.ops.statistics import WIDE_ROWS, ClassStatistics, class_statistics, prepared

#: Eigenvalues below this share of the largest one count as zero. Well above the rounding
#: noise of a float64 covariance, well below the spread of real ones (about 1e-9).
RELATIVE_FLOOR = 1e-12

#: Column panels of a symmetric product on a processor; more save more of the upper half.
PANELS = 8

#: Pivots of a Cholesky factor below this share of the largest leave the rank in doubt:
#: then an eigen-decomposition decides it.
PIVOT_FLOOR = 1e-9

#: Most distances [rows, classes] held at once; bounds memory, not results.
CHUNK_VALUES = 2**24


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
        weighted = between * (self.classes.counts.double() / self.classes.num_rows)[:, None]
        return self.covariance + between.T @ weighted


def tied_gaussian(inputs: FitInputs, *, normalise: bool = False) -> TiedGaussian:
    """Class means and shared covariance of the training features, once per `inputs`.

    Two passes, means first: squares of raw features would cancel. The covariance
    divides by N, the maximum-likelihood estimate of the published methods.

    Args:
        inputs: What there is to learn from; needs the training rows.
        normalise: Divide each feature vector by its L2 norm first.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If a training label is no class or there is not one row.
    """
    source = inputs.require_train()

    def compute() -> TiedGaussian:
        classes = class_statistics(inputs, normalise=normalise)
        means = classes.means
        scatter = means.new_zeros((source.dim, source.dim))
        for batch in source.batches(arrays=("features", "labels")):
            blocks = zip(
                torch.split(batch.features, WIDE_ROWS),
                torch.split(batch.labels, WIDE_ROWS),
                strict=True,
            )
            for rows, labels in blocks:
                add_lower_gram(scatter, prepared(rows, normalise) - means[labels])
        lower = scatter.tril()
        return TiedGaussian(classes, (lower + lower.tril(-1).T) / classes.num_rows)

    return inputs.once(("tied_gaussian", normalise), compute)


def add_lower_gram(scatter: Tensor, rows: Tensor) -> None:
    """Add rows^T rows to `scatter` in place, on and below the diagonal.

    Above the diagonal some values are added and some are not: read the lower half alone.
    A processor skips most of the upper half, which saves nearly half of the work.

    Args:
        scatter: [D, D].
        rows: [n, D].
    """
    if rows.is_cuda:
        scatter.addmm_(rows.T, rows)
        return
    step = max(64, -(-len(scatter) // PANELS))
    for start in range(0, len(scatter), step):
        stop = start + step
        scatter[start:stop, :stop].addmm_(rows[:, start:stop].T, rows[:, :stop])


def whitening(covariance: Tensor, ridge: float = 0.0) -> Tensor:
    """Map to coordinates in which `covariance` + ridge I is the identity.

    Args:
        covariance: Symmetric, [D, D] float64.
        ridge: Added to the diagonal; 0 or more.

    Returns:
        Whitening map A, [D, r] float64, r the numerical rank: A A^T is the inverse, or
        the pseudo-inverse where the rank is not full. Its columns are orthogonal.

    Raises:
        DataError: If no direction has any variance.
    """
    ridged = _ridged(covariance, ridge)
    values, vectors = torch.linalg.eigh(ridged)
    kept = values > RELATIVE_FLOOR * values[-1]
    if not kept.any():
        raise DataError(
            "the training features do not vary within their classes, so distances have no "
            "scale; set a ridge above 0 or use more training rows."
        )
    scaled: Tensor = vectors[:, kept] / values[kept].sqrt()
    return scaled


def triangular_whitening(covariance: Tensor, ridge: float = 0.0) -> Tensor:
    """Like `whitening`, but upper triangular where the rank is full beyond doubt.

    A Cholesky factor costs a fraction of the eigenvectors, and `whitened` skips the half
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
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
    upper: Tensor = inverse.T.triu().contiguous()
    return upper


def _ridged(covariance: Tensor, ridge: float) -> Tensor:
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return covariance + ridge * identity


def whitened(rows: Tensor, whitening_map: Tensor) -> Tensor:
    """Rows times a whitening map, [N, r] float64.

    Args:
        rows: [N, D] float64.
        whitening_map: From `whitening` or `triangular_whitening`, [D, r].
    """
    dim, rank = whitening_map.shape
    if rows.is_cuda or dim != rank or bool(whitening_map.tril(-1).any()):
        return rows @ whitening_map
    # Upper triangular: a panel of columns needs no rows below it.
    step = max(64, -(-dim // PANELS))
    panels = [
        rows[:, : start + step] @ whitening_map[: start + step, start : start + step]
        for start in range(0, dim, step)
    ]
    return torch.cat(panels, dim=1)


def min_squared_distance(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distance of each point to its nearest centre, [N] float64.

    Args:
        points: [N, r] float64.
        centres: [K, r] float64.
    """
    offset = centres.square().sum(dim=1)
    rows = max(1, CHUNK_VALUES // len(centres))
    nearest = [
        (offset - 2 * block @ centres.T).amin(dim=1) + block.square().sum(dim=1)
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
    # Blocks that stay in the cache save the float64 copies a way to memory and back.
    distances = [
        min_squared_distance(whitened(rows.double(), whitening_map), whitened_means)
        for rows in torch.split(features, WIDE_ROWS)
    ]
    return torch.cat(distances)
