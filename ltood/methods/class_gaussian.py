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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Self

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, Features, FeatureSource, Scores
from ltood.core.crew import ALONE, Crew
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Share
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.blas import inverse_lower, times_upper
from ltood.ops.gaussian import RELATIVE_FLOOR, tied_gaussian, whitening
from ltood.ops.statistics import WIDE_ROWS, prepared
from ltood.runtime.large import room_for

#: Most values of class scatters gathered in one pass over the training rows (1 GiB).
FIT_VALUES = 2**27

#: Blocks of rows that are scored in one pass over the classes (16 MiB each at 2,048 features).
BLOCKS = 8

#: Most axes of the classes without a factor that are multiplied with at once.
GROUP_AXES = 4096

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
    each of 8 bytes. For ImageNet's 1.28 million rows of 2,048 features that is 34 GB, which lie
    in a temporary file where they would fill the memory, and which a GPU refuses that has less.
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

        source, normalise = inputs.require_train(), self.config.normalise
        whitened = Whitened(source, self.whitening_, normalise, inputs.crew)
        self._learn_classes(whitened.scatters(present, counts, self.means_), counts)
        return self

    def _learn_classes(self, scatters: Iterator[Tensor], counts: Tensor) -> None:
        """Learn the directions of the classes from their `scatters` and rows, [K]."""
        rank, device = self.whitening_.shape[1], self.means_.device
        self.is_wide_ = (2 * counts > rank) & (self.shrinkage_ >= LEAST_WIDE_SHARE)
        wide = self.is_wide_.tolist()
        # In place, because a list of them and their stack would take the memory twice.
        shape = (sum(wide), rank, rank)
        self.factors_ = room_for(shape, torch.float64, device, "the factors of the classes")
        what, most = "the directions of the classes", counts[~self.is_wide_].clamp(max=rank).sum()
        axes = room_for((rank, int(most)), torch.float64, device, what)
        rest = iter(self.factors_)
        sizes: list[int] = []
        log_determinants = []
        for i, scatter in enumerate(scatters):
            share = self.shrinkage_[i]
            if wide[i]:
                moment = scatter if counts[i] > rank else scatter.T @ scatter
                factor, log_determinant = _wide(moment / counts[i], share)
                next(rest).copy_(factor)
            else:
                own, log_determinant = _narrow(scatter, counts[i], share)
                done = sum(sizes)
                axes[:, done : done + own.shape[1]] = own
                sizes.append(own.shape[1])
            log_determinants.append(log_determinant)
        self.sizes_ = torch.tensor(sizes, dtype=torch.int64)
        # Most classes have fewer directions than rows; what is learned has no gaps.
        self.axes_ = room_for((rank, sum(sizes)), torch.float64, device, what)
        self.axes_.copy_(axes[:, : sum(sizes)])
        self.log_determinants_ = torch.stack(log_determinants)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD.

        Twice the negative log likelihood of the likeliest class, less a constant that is
        the same for all rows and classes.
        """
        blocks = torch.split(batch.features, WIDE_ROWS)
        found = [batch.features.new_zeros(0)]
        for start in range(0, len(blocks), BLOCKS):
            found += self._of_blocks(blocks[start : start + BLOCKS])
        return torch.cat(found)

    def _of_blocks(self, blocks: Sequence[Features]) -> list[Scores]:
        """Scores of some blocks of rows.

        Classes outside, blocks inside: what the classes have learned may lie on a disk, and is
        read once.
        """
        whitening_map = self.learned("whitening_")
        points = [prepared(rows, self.config.normalise) @ whitening_map for rows in blocks]
        least = [torch.full_like(rows[:, 0], math.inf) for rows in points]
        classes: Iterable[WideClass | NarrowClasses] = chain(self._wide(), self._narrow())
        for some in classes:
            pairs = zip(least, points, strict=True)
            least = [torch.minimum(before, some.nearest(rows)) for before, rows in pairs]
        return [block.float() for block in least]

    def _classes(self, *, wide: bool) -> list[int]:
        """Which classes have a factor of their own, or have none."""
        flags: list[bool] = self.learned("is_wide_").tolist()
        return [number for number, is_wide in enumerate(flags) if is_wide == wide]

    def _wide(self) -> "Iterator[WideClass]":
        """Each class with a factor."""
        classes = self._classes(wide=True)
        means, constants = self.learned("means_"), self.learned("log_determinants_")
        factors = self.learned("factors_")
        return map(WideClass, factors, means[classes], constants[classes])

    def _narrow(self) -> "Iterator[NarrowClasses]":
        """The other classes, some of them at a time."""
        classes = self._classes(wide=False)
        names = ("means_", "shrinkage_", "log_determinants_")
        means, shares, constants = (self.learned(name)[classes] for name in names)
        sizes: list[int] = self.learned("sizes_").tolist()
        start = 0
        for first, last in _groups([size + 1 for size in sizes], GROUP_AXES):
            some, stop = slice(first, last), start + sum(sizes[first:last])
            axes = self.learned("axes_")[:, start:stop]
            yield NarrowClasses(axes, sizes[some], means[some], shares[some], constants[some])
            start = stop


@dataclass(frozen=True)
class WideClass:
    """A class with a factor of its inverse covariance.

    Attributes:
        factor: Upper triangular R with R R^T = S^-1, [r, r] float64.
        mean: [r] float64.
        constant: Log determinant of S, 0-d.
    """

    factor: Tensor
    mean: Tensor
    constant: Tensor

    def nearest(self, points: Tensor) -> Tensor:
        """Distance plus constant of whitened rows, [n] float64."""
        along = times_upper(points - self.mean, self.factor, overwrite=True)
        distances: Tensor = vector_norm(along, dim=1).square() + self.constant
        return distances


class NarrowClasses:
    """Classes with few directions in which they differ from a multiple of the identity."""

    def __init__(
        self, axes: Tensor, sizes: list[int], means: Tensor, shares: Tensor, constants: Tensor
    ) -> None:
        """Prepare their distances.

        Args:
            axes: Axes A of each class with S^-1 = I / share - A A^T, side by side, [r, s] float64.
            sizes: How many axes each class has, K.
            means: [K, r] float64.
            shares: [K] float64.
            constants: Log determinants of S, [K].
        """
        own = zip(means, torch.split(axes, sizes, dim=1), strict=True)
        self._shifts = torch.cat([mean @ of_class for mean, of_class in own])
        self._axes, self._sizes = axes, sizes
        self._means, self._shares, self._constants = means, shares, constants
        self._squares = means.square().sum(dim=1)

    def nearest(self, points: Tensor) -> Tensor:
        """Least distance plus constant of whitened rows over these classes, [n] float64."""
        plain = points.square().sum(dim=1)[:, None] - 2 * (points @ self._means.T)
        plain = plain + self._squares
        saved = (points @ self._axes).sub_(self._shifts).square_()
        sums = [part.sum(dim=1) for part in torch.split(saved, self._sizes, dim=1)]
        distances = (plain / self._shares - torch.stack(sums, dim=1)).clamp(min=0)
        least: Tensor = (distances + self._constants).amin(dim=1)
        return least


@dataclass(frozen=True)
class Whitened:
    """Training rows in coordinates in which the shared covariance is the identity.

    Attributes:
        source: Training rows.
        whitening_map: [D, r] float64.
        normalise: Whether rows are divided by their L2 norm first.
        crew: Processes that share the rows.
    """

    source: FeatureSource
    whitening_map: Tensor
    normalise: bool
    crew: Crew = ALONE

    def scatters(self, classes: Tensor, counts: Tensor, means: Tensor) -> Iterator[Tensor]:
        """Yield centred rows of each class [n, r], or where they are more than r, X^T X [r, r].

        Args:
            classes: Class numbers, [K] int64, ascending.
            counts: Their training rows, [K].
            means: Their whitened means, [K, r] float64.
        """
        rank = self.whitening_map.shape[1]
        for first, last in _groups((counts.clamp(max=rank) * rank).tolist(), FIT_VALUES):
            yield from self._scatters(classes[first:last], counts[first:last], means[first:last])

    def _scatters(self, classes: Tensor, counts: Tensor, means: Tensor) -> list[Tensor]:
        """See `scatters`; all classes in one pass over the training rows."""
        rank = self.whitening_map.shape[1]
        wanted = [int(count) for count in counts]
        # Filled in place: parts of thousands of classes and what joins them are slow and large.
        found = [means.new_zeros((min(count, rank), rank)) for count in wanted]
        filled = self._rows_before(classes)
        places = classes.new_full((self.source.num_classes,), -1)
        places[classes] = torch.arange(len(classes), device=classes.device)
        for batch in self.crew.batches(self.source, ("features", "labels")):
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
        return found if self.crew.is_alone else self._added(found)

    def _rows_before(self, classes: Tensor) -> list[int]:
        """Rows of each class that processes before this one read, [K]."""
        if self.crew.is_alone:
            return [0] * len(classes)
        counts = classes.new_zeros(self.source.num_classes)
        for batch in self.crew.batches(self.source, ("labels",)):
            counts += torch.bincount(batch.labels, minlength=len(counts))
        seen = self.crew.joined(lambda: (counts[None],))
        assert seen is not None
        before: list[int] = seen[0][: self.crew.part.number].sum(dim=0)[classes].tolist()
        return before

    def _added(self, found: list[Tensor]) -> list[Tensor]:
        """What all processes have found: each holds zeros where others have their rows."""
        whole = self.crew.total(lambda: torch.cat([own.flatten() for own in found]))
        parts = torch.split(whole, [own.numel() for own in found])
        return [part.view_as(own) for part, own in zip(parts, found, strict=True)]


def _groups(sizes: Sequence[float], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of neighbouring classes, each of at most `most` in size or one class."""
    first, total = 0, 0.0
    for i, size in enumerate(sizes):
        if i > first and total + size > most:
            yield first, i
            first, total = i, 0.0
        total += size
    if sizes:
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
