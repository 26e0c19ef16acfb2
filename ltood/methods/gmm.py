"""GMM: negative log likelihood under a Gaussian mixture that never sees the labels.

Source: Dempster, Laird and Rubin, "Maximum Likelihood from Incomplete Data via the EM
Algorithm", Journal of the Royal Statistical Society B 39 (1977), started from the clusters of
Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007. Departures:
the ridge is relative to the spread of the features, so that their unit does not matter;
directions without variance are left out; where the training rows are too many to hold, evenly
spaced ones are taken.

Formula:
    score = -log sum_j pi_j N(f; mu_j, S_j)
    k components fitted by EM to training features without labels
"""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ltood.core.batches import FeatureBatch, FeatureSource, Scores
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Positive, Seed
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.gaussian import RELATIVE_FLOOR, whitening

#: Most training values held at once (512 MiB); of more rows, evenly spaced ones are taken.
FIT_VALUES = 2**26

#: Most rounds of k-means and of EM.
ROUNDS = 100

#: EM ends when a round raises the mean log likelihood of a row by less than this.
TOLERANCE = 1e-4

Covariance = Literal["tied", "diagonal"]


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the Gaussian mixture.

    Attributes:
        k: Number of components, 1 to the number of training rows.
        covariance: "tied" is one full covariance for all components, "diagonal" the
            variances of each component alone.
        ridge: Added to the variances, as a share of those of all training rows; above 0.
        seed: Draws the first centres; 0 or more.
    """

    k: Count = 10
    covariance: Covariance = "tied"
    ridge: Positive = 1e-3
    seed: Seed = 0


class GMM(Method[Config]):
    """Scores rows by how unlikely the mixture finds them."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("centre_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Fit the mixture in coordinates in which the training rows have unit variance.

        Raises:
            MissingNeedError: If there are no training rows.
            ConfigError: If they are fewer than the components.
            DataError: If they do not vary.
        """
        rows = spaced_rows(inputs.require_train())
        if self.config.k > len(rows):
            raise ConfigError(
                f"methods.gmm.k is {self.config.k} but there are only {len(rows)} training rows; "
                f"set it to at most {len(rows)}."
            )
        self.centre_ = rows.mean(dim=0)
        rows = rows - self.centre_
        is_tied = self.config.covariance == "tied"
        scaling = _scaling(rows, self.centre_, is_tied)
        points = rows @ scaling
        # Whitening makes all directions equally wide and so hides clusters; k-means looks
        # for them before.
        generator = torch.Generator().manual_seed(self.config.seed)
        assigned = k_means(rows if is_tied else points, self.config.k, generator)
        shares = one_hot(assigned, self.config.k).double()
        if is_tied:
            log_weights, means, covariance = fit_tied(points, shares, self.config.ridge)
            factor = torch.linalg.cholesky(covariance)
            identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
            unit = torch.linalg.solve_triangular(factor, identity, upper=False).T
            scaling, self.means_ = scaling @ unit, means @ unit
            self.precisions_ = torch.ones_like(self.means_)
        else:
            log_weights, self.means_, variances = fit_diagonal(points, shares, self.config.ridge)
            self.precisions_ = 1 / variances
        self.scaling_ = scaling
        # Densities per unit of the features themselves, whatever coordinates they are in.
        volume = torch.linalg.slogdet(scaling.T @ scaling).logabsdet / 2
        self.log_weights_ = log_weights + volume
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD."""
        points = (batch.features.double() - self.learned("centre_")) @ self.learned("scaling_")
        joint = log_joint(
            points,
            self.learned("log_weights_"),
            self.learned("means_"),
            self.learned("precisions_"),
        )
        return -torch.logsumexp(joint, dim=1).float()


def spaced_rows(source: FeatureSource) -> Tensor:
    """All training features, or evenly spaced rows of them, [n, D] float64.

    Raises:
        DataError: If there is not one row.
    """
    total = len(source)
    if total == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    num_rows = min(total, max(1, FIT_VALUES // source.dim))
    wanted = torch.arange(num_rows) * total // num_rows
    taken, start = [], 0
    for batch in source.batches(arrays=("features",)):
        inside = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        taken.append(batch.features[inside.to(batch.features.device)].double())
        start += len(batch)
    return torch.cat(taken)


def _scaling(rows: Tensor, centre: Tensor, is_tied: bool) -> Tensor:
    """Map to coordinates of unit variance, [D, r]: uncorrelated ones if tied."""
    covariance = rows.T @ rows / len(rows)
    variances = covariance.diagonal()
    varies = variances > RELATIVE_FLOOR * centre.square()
    if not varies.any():
        raise DataError(
            "the training features are all alike, so a mixture has no scale; gmm needs rows "
            "that differ."
        )
    if is_tied:
        return whitening(covariance)
    scaling: Tensor = torch.diag(variances.clamp(min=0).rsqrt())[:, varies]
    return scaling


def k_means(rows: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Cluster of each row, [N] int64.

    Args:
        rows: [N, D] float64.
        k: Number of clusters, 1 to N; some stay empty where fewer rows differ.
        generator: Random numbers on the CPU.
    """
    squares = rows.square().sum(dim=1)

    def distances(centres: Tensor) -> Tensor:
        gaps = squares[:, None] - 2 * (rows @ centres.T) + centres.square().sum(dim=1)
        return gaps.clamp(min=0)

    draws = torch.rand(k, generator=generator, dtype=torch.float64)
    first = int(draws[0] * len(rows))
    centres = rows[first : first + 1]
    nearest = distances(centres)[:, 0]
    for draw in draws[1:].tolist():
        # Rows are drawn in proportion to their squared distance from the centres so far.
        mass = nearest.cumsum(0)
        index = int(torch.searchsorted(mass, draw * mass[-1], right=True).clamp(max=len(rows) - 1))
        centres = torch.cat([centres, rows[index : index + 1]])
        nearest = torch.minimum(nearest, distances(centres[-1:])[:, 0])

    assigned = distances(centres).argmin(dim=1)
    for _ in range(ROUNDS):
        counts = torch.bincount(assigned, minlength=k)
        sums = torch.zeros_like(centres).index_add_(0, assigned, rows)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        previous, assigned = assigned, distances(centres).argmin(dim=1)
        if torch.equal(previous, assigned):
            break
    return assigned


def fit_tied(points: Tensor, shares: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """EM with one covariance for all components.

    Args:
        points: [N, r] float64 of mean 0 and covariance I.
        shares: Share of each component in each row to start from, [N, k]; rows sum to 1.
        ridge: Added to the diagonal of the covariance.

    Returns:
        Log weights [k], means [k, r] and covariance [r, r].
    """
    rank, scale, previous = points.shape[1], 1 + ridge, -math.inf
    for _ in range(ROUNDS):
        weights, means = _weights_and_means(points, shares)
        # What the means do not explain of the covariance of all rows, which is I, is
        # scale I - V^T V. Of that only scale I - V V^T, as small as the mixture, is factored:
        # its inverse is (I + V^T (scale I - V V^T)^-1 V) / scale (Woodbury).
        spread = weights.sqrt()[:, None] * means
        products = spread @ spread.T
        small = -products
        small.diagonal().add_(scale)
        factor = torch.linalg.cholesky(small)
        solved = (means + torch.cholesky_solve(spread @ means.T, factor).T @ spread).T / scale
        # A row's own square is the same for all components and averages to a trace.
        joint = weights.log() + points @ solved - (means.T * solved).sum(dim=0) / 2
        own_squares = (rank + torch.cholesky_solve(products, factor).trace()) / scale
        log_volume = factor.diagonal().log().sum() + (rank - len(means)) * math.log(scale) / 2
        evidence = torch.logsumexp(joint, dim=1)
        shares = (joint - evidence[:, None]).exp()
        likelihood = float(evidence.mean() - own_squares / 2 - log_volume)
        if likelihood - previous < TOLERANCE:
            break
        previous = likelihood
    covariance = -spread.T @ spread
    covariance.diagonal().add_(scale)
    return weights.log(), means, covariance


def fit_diagonal(points: Tensor, shares: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """EM with variances of its own for each component.

    Args:
        points: [N, r] float64 of mean 0 and unit variances.
        shares: Share of each component in each row to start from, [N, k]; rows sum to 1.
        ridge: Added to the variances.

    Returns:
        Log weights [k], means [k, r] and variances [k, r].
    """
    squares = points.square()
    previous = -math.inf
    for _ in range(ROUNDS):
        weights, means = _weights_and_means(points, shares)
        _, mean_squares = _weights_and_means(squares, shares)
        variances = (mean_squares - means.square()).clamp(min=0) + ridge
        joint = log_joint(points, weights.log(), means, 1 / variances)
        evidence = torch.logsumexp(joint, dim=1)
        shares = (joint - evidence[:, None]).exp()
        likelihood = float(evidence.mean())
        if likelihood - previous < TOLERANCE:
            break
        previous = likelihood
    return weights.log(), means, variances


def _weights_and_means(points: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [k] and means [k, r] of the components; an empty one keeps a tiny weight."""
    # A component that lost all its rows would divide by zero.
    totals = shares.sum(dim=0).clamp(min=torch.finfo(shares.dtype).eps)
    return totals / totals.sum(), shares.T @ points / totals[:, None]


def log_joint(points: Tensor, log_weights: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """Log of weight times density of each component at each point, [N, k].

    Args:
        points: [N, r].
        log_weights: [k].
        means: [k, r].
        precisions: Inverse variances, [k, r].
    """
    scaled_means = precisions * means
    distances = (
        points.square() @ precisions.T
        - 2 * (points @ scaled_means.T)
        + (means * scaled_means).sum(dim=1)
    )
    constants = (precisions.log() - math.log(2 * math.pi)).sum(dim=1) / 2
    joint: Tensor = log_weights + constants - distances.clamp(min=0) / 2
    return joint


Entry = GMM
