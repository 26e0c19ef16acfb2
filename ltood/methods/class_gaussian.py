"""Class Gaussians: one Gaussian per class, its covariance shrunk towards the shared one.

Source: the class-conditional Gaussians of Lee, Lee, Lee and Shin, "A Simple Unified
Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018
(arXiv:1807.03888), with the shrinkage of Friedman, "Regularized Discriminant Analysis",
Journal of the American Statistical Association 84 (1989). Departures: every class weighs
the same, whatever its share of the training rows; "auto" is our rule (see `Config`);
classes without training rows are left out.

Formula:
    S_c = (1 - a_c) C_c + a_c C
    C_c covariance of class c, C the shared one, a_c = D / (D + N_c) for shrinkage auto
    score = min_c (f - m_c)' S_c^-1 (f - m_c) + log det S_c - log det C
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, FeatureSource, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Share
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.blas import inverse_lower, times_upper
from ltood.ops.gaussian import CHUNK_VALUES, RELATIVE_FLOOR, tied_gaussian, whitening
from ltood.ops.statistics import WIDE_ROWS, prepared

#: Most values of class scatters gathered in one pass over the training rows (1 GiB).
FIT_VALUES = 2**27

#: Least share of the shared covariance with which a class may have a triangular factor: with
#: less, its inverse covariance spans more than float64 can add up.
LEAST_WIDE_SHARE = 1e-6


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the class Gaussians.

    Attributes:
        shrinkage: Share of the shared covariance in that of each class, above 0 and at
            most 1, where the method is the Mahalanobis distance. "auto" is r / (r + n)
            for n rows of a class and r directions: the shared covariance counts as much
            as r rows, so that it rules small classes and large ones rule themselves.
            The formula of Ledoit and Wolf is not an option here: from two rows, which are
            alike up to their sign, it finds no uncertainty and shrinks nothing.
        normalise: Divide features by their L2 norm before everything else.
    """

    shrinkage: Share | Literal["auto"] = "auto"
    normalise: bool = False


class ClassGaussian(Method[Config]):
    """Scores rows by the least negative log likelihood over the classes.

    All happens in coordinates in which the shared covariance is the identity. There a class
    of n rows differs from a multiple of it in fewer than n directions. A class with few keeps
    those, one with many a triangular factor of its inverse covariance, half of which no product
    touches: what is learned are never more than twice as many numbers as the training features,
    each of 8 bytes. For ImageNet's 1.28 million rows of 2,048 features that is 34 GB.
    """

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("whitening_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the shared whitening map, then the directions of each class within it."""
        model = tied_gaussian(inputs, normalise=self.config.normalise)
        self.whitening_ = whitening(model.covariance)
        rank = self.whitening_.shape[1]
        present = model.classes.present.nonzero()[:, 0]
        counts = model.classes.counts[present].double()
        self.means_ = model.classes.means[present] @ self.whitening_
        if isinstance(self.config.shrinkage, str):
            self.shrinkage_ = rank / (rank + counts)
        else:
            self.shrinkage_ = torch.full_like(counts, self.config.shrinkage)

        whitened = Whitened(inputs.require_train(), self.whitening_, self.config.normalise)
        is_wide = (2 * counts > rank) & (self.shrinkage_ >= LEAST_WIDE_SHARE)
        wide = is_wide.tolist()
        # In place, because a list of them and their stack would take the memory twice.
        self.factors_ = self.means_.new_empty((sum(wide), rank, rank))
        rest = iter(self.factors_)
        narrow, sizes, log_determinants = [], [], []
        for i, scatter in enumerate(whitened.scatters(present, counts, self.means_)):
            share = self.shrinkage_[i]
            if wide[i]:
                moment = scatter if counts[i] > rank else scatter.T @ scatter
                factor, log_determinant = _wide(moment / counts[i], share)
                next(rest).copy_(factor)
            else:
                axes, log_determinant = _narrow(scatter, counts[i], share)
                narrow.append(axes)
                sizes.append(axes.shape[1])
            log_determinants.append(log_determinant)
        self.is_wide_, self.sizes_ = is_wide, torch.tensor(sizes, dtype=torch.int64)
        self.axes_ = torch.cat(narrow, dim=1) if narrow else self.means_.new_empty((rank, 0))
        self.log_determinants_ = torch.stack(log_determinants)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD.

        Twice the negative log likelihood of the likeliest class, less a constant that is
        the same for all rows and classes.
        """
        whitening_map = self.learned("whitening_")
        nearest = []
        for rows in torch.split(batch.features, WIDE_ROWS):
            points = prepared(rows, self.config.normalise) @ whitening_map
            nearest.append(torch.minimum(self._of_wide(points), self._of_narrow(points)))
        return torch.cat(nearest).float() if nearest else batch.features.new_zeros(0)

    def _of_wide(self, points: Tensor) -> Tensor:
        """Least distance plus log determinant over classes with a factor, [n] float64."""
        wide, constants = self._classes(wide=True), self.learned("log_determinants_")
        means, constants = self.learned("means_")[wide], constants[wide]
        nearest = torch.full_like(points[:, 0], math.inf)
        for factor, mean, constant in zip(self.learned("factors_"), means, constants, strict=True):
            along = times_upper(points - mean, factor, overwrite=True)
            nearest = torch.minimum(nearest, vector_norm(along, dim=1).square() + constant)
        return nearest

    def _classes(self, *, wide: bool) -> list[int]:
        """Which classes have a factor of their own, or have none."""
        flags: list[bool] = self.learned("is_wide_").tolist()
        return [number for number, is_wide in enumerate(flags) if is_wide == wide]

    def _of_narrow(self, points: Tensor) -> Tensor:
        """Least distance plus log determinant over the other classes, [n] float64."""
        others = self._classes(wide=False)
        if not others:
            return torch.full_like(points[:, 0], math.inf)
        means, axes = self.learned("means_")[others], self.learned("axes_")
        shares, constants = self.learned("shrinkage_")[others], self.learned("log_determinants_")
        sizes: list[int] = self.learned("sizes_").tolist()
        own = zip(means, torch.split(axes, sizes, dim=1), strict=True)
        shifts = torch.cat([mean @ of_class for mean, of_class in own])
        nearest = []
        for rows in torch.split(points, max(1, CHUNK_VALUES // max(1, axes.shape[1]))):
            plain = rows.square().sum(dim=1)[:, None] - 2 * (rows @ means.T)
            plain = plain + means.square().sum(dim=1)
            saved = (rows @ axes).sub_(shifts).square_()
            sums = [part.sum(dim=1) for part in torch.split(saved, sizes, dim=1)]
            distances = (plain / shares - torch.stack(sums, dim=1)).clamp(min=0)
            nearest.append((distances + constants[others]).amin(dim=1))
        return torch.cat(nearest)


@dataclass(frozen=True)
class Whitened:
    """Training rows in coordinates in which the shared covariance is the identity.

    Attributes:
        source: Training rows.
        whitening_map: [D, r] float64.
        normalise: Whether rows are divided by their L2 norm first.
    """

    source: FeatureSource
    whitening_map: Tensor
    normalise: bool

    def scatters(self, classes: Tensor, counts: Tensor, means: Tensor) -> Iterator[Tensor]:
        """Yield centred rows of each class [n, r], or where they are more than r, X^T X [r, r].

        Args:
            classes: Class numbers, [K] int64, ascending.
            counts: Their training rows, [K].
            means: Their whitened means, [K, r] float64.
        """
        rank = self.whitening_map.shape[1]
        for first, last in _groups((counts.clamp(max=rank) * rank).tolist()):
            yield from self._scatters(classes[first:last], counts[first:last], means[first:last])

    def _scatters(self, classes: Tensor, counts: Tensor, means: Tensor) -> list[Tensor]:
        """See `scatters`; all classes in one pass over the training rows."""
        rank = self.whitening_map.shape[1]
        wanted = [int(count) for count in counts]
        # Filled in place: parts of thousands of classes and what joins them are slow and large.
        found = [means.new_zeros((min(count, rank), rank)) for count in wanted]
        filled = [0] * len(found)
        places = classes.new_full((self.source.num_classes,), -1)
        places[classes] = torch.arange(len(classes), device=classes.device)
        for batch in self.source.batches(arrays=("features", "labels")):
            own = places[batch.labels]
            order = own.argsort(stable=True)
            order = order[own[order] >= 0]
            # Many rows at once: of the map, which no cache holds, few would make a slow product.
            for rows in torch.split(order, WIDE_ROWS):
                points = prepared(batch.features[rows], self.normalise) @ self.whitening_map
                points -= means[own[rows]]
                present, sizes = torch.unique_consecutive(own[rows], return_counts=True)
                parts = torch.split(points, sizes.tolist())
                for i, part in zip(present.tolist(), parts, strict=True):
                    if wanted[i] > rank:
                        found[i].addmm_(part.T, part)
                    else:
                        found[i][filled[i] : filled[i] + len(part)] = part
                        filled[i] += len(part)
        return found


def _groups(sizes: list[float]) -> Iterator[tuple[int, int]]:
    """Yield ranges of neighbouring classes, each of at most `FIT_VALUES` or one class."""
    first, total = 0, 0.0
    for i, size in enumerate(sizes):
        if i > first and total + size > FIT_VALUES:
            yield first, i
            first, total = i, 0.0
        total += size
    yield first, len(sizes)


def _wide(covariance: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Triangular factor and log determinant of a class that varies in many directions.

    Args:
        covariance: Of the class about its mean, [r, r] float64.
        share: Share of the identity in its shrunk covariance S.

    Returns:
        Upper triangular R with R R^T = S^-1, [r, r]; log determinant of S.
    """
    shrunk = (1 - share) * covariance
    shrunk.diagonal().add_(share)
    factor = torch.linalg.cholesky(shrunk)
    return inverse_lower(factor).T, 2 * factor.diagonal().log().sum()


def _narrow(scatter: Tensor, count: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Axes and log determinant of a class that varies in few directions.

    Args:
        scatter: What `Whitened.scatters` gives.
        count: Rows of the class.
        share: Share of the identity in its shrunk covariance S.

    Returns:
        Axes A with S^-1 = I / share - A A^T, [r, s], s less than the rows of the class and 0
        for a single row; log determinant of S.
    """
    rank = scatter.shape[1]
    if count > rank:
        values, vectors = torch.linalg.eigh(scatter / count)
    else:
        # The rows' products with one another have the same eigenvalues and are fewer.
        values, vectors = torch.linalg.eigh(scatter @ scatter.T / count)
        vectors = scatter.T @ vectors
    # Rows that are equal to their mean have no direction, only rounding noise.
    kept = values > RELATIVE_FLOOR * values[-1].clamp(min=RELATIVE_FLOOR)
    variances = (1 - share) * values[kept] + share
    axes = normalize(vectors[:, kept], dim=0) * (1 / share - 1 / variances).sqrt()
    return axes, variances.log().sum() + (rank - len(variances)) * share.log()


Entry = ClassGaussian
