"""Class Gaussians: one Gaussian per class, its covariance shrunk towards the shared one.

Source: the class-conditional Gaussians of Lee, Lee, Lee and Shin, "A Simple Unified
Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018
(arXiv:1807.03888), with the shrinkage of Friedman, "Regularized Discriminant Analysis",
Journal of the American Statistical Association 84 (1989). Departures: every class weighs
the same, whatever its share of the training rows; "auto" is our rule (see `Config`);
classes without training rows are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.detector import Detector
from ltood.core.errors import ConfigError
from ltood.core.types import FeatureBatch, FeatureSource, FitInputs, Need, Scores
from ltood.ops.gaussian import CHUNK_VALUES, RELATIVE_FLOOR, tied_gaussian, whitening
from ltood.ops.statistics import prepared

#: Most values of class scatters gathered in one pass over the training rows (512 MiB).
FIT_VALUES = 2**26


@dataclass(frozen=True)
class Config:
    """Settings of the class Gaussians.

    Attributes:
        shrinkage: Share of the shared covariance in that of each class, above 0 and at
            most 1, where the method is the Mahalanobis distance. "auto" is r / (r + n)
            for n rows of a class and r directions: the shared covariance counts as much
            as r rows, so that it rules small classes and large ones rule themselves.
            The formula of Ledoit and Wolf is no choice here: from two rows, which are
            alike up to their sign, it finds no uncertainty and shrinks nothing.
        normalise: Divide features by their L2 norm before everything else.
    """

    shrinkage: float | Literal["auto"] = "auto"
    normalise: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        value = self.shrinkage
        if value != "auto" and (isinstance(value, str) or not 0 < value <= 1):
            raise ConfigError(
                f"methods.class_gaussian.shrinkage is {value!r}; give the share of the shared "
                "covariance, above 0 and at most 1, or auto (by the rows of each class)."
            )


class ClassGaussian(Detector):
    """Scores rows by the least negative log likelihood over the classes.

    All happens in coordinates in which the shared covariance is the identity. There a class
    of n rows differs from a multiple of it in fewer than n directions, and only those are
    kept: what is learned is never larger than the training features.
    """

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: ClassVar[tuple[str, ...]] = ("features",)

    def __init__(self, config: Config | None = None) -> None:
        """Take the settings."""
        self.config = config or Config()

    def fit(self, inputs: FitInputs) -> Self:
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
        directions, shifts, gains, log_determinants, sizes = [], [], [], [], []
        for i, (values, vectors) in enumerate(whitened.spreads(present, counts, self.means_)):
            share = self.shrinkage_[i]
            variances = (1 - share) * values + share
            directions.append(vectors)
            shifts.append(self.means_[i] @ vectors)
            gains.append(1 / share - 1 / variances)
            log_determinants.append(variances.log().sum() + (rank - len(values)) * share.log())
            sizes.append(len(values))
        self.directions_ = torch.cat(directions, dim=1)
        self.shifts_, self.gains_ = torch.cat(shifts), torch.cat(gains)
        self.log_determinants_ = torch.stack(log_determinants)
        self.sizes_ = torch.tensor(sizes)
        return self

    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, of either sign; higher means more OOD.

        Twice the negative log likelihood of the likeliest class, less a constant that is
        the same for all rows and classes.
        """
        points = prepared(batch.features, self.config.normalise) @ self.learned("whitening_")
        rows = max(1, CHUNK_VALUES // max(1, len(self.learned("gains_"))))
        nearest = [self._distances(block).amin(dim=1) for block in torch.split(points, rows)]
        return (torch.cat(nearest) if nearest else points.new_zeros(0)).float()

    def _distances(self, points: Tensor) -> Tensor:
        """Distance plus log determinant of each row and class, [N, K] float64."""
        means = self.learned("means_")
        plain = points.square().sum(dim=1)[:, None] - 2 * points @ means.T
        plain = plain + means.square().sum(dim=1)
        along = points @ self.learned("directions_") - self.learned("shifts_")
        sizes: list[int] = self.learned("sizes_").tolist()
        saved = along.square() * self.learned("gains_")
        sums = [part.sum(dim=1) for part in torch.split(saved, sizes, dim=1)]
        distances = plain / self.learned("shrinkage_") - torch.stack(sums, dim=1)
        return distances.clamp(min=0) + self.learned("log_determinants_")


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

    def spreads(
        self, classes: Tensor, counts: Tensor, means: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield variances and directions of each class about its mean, class by class.

        Args:
            classes: Class numbers, [K] int64, ascending.
            counts: Their training rows, [K].
            means: Their whitened means, [K, r] float64.

        Yields:
            Variances, [s] float64, above 0, and orthonormal directions, [r, s] float64; s is
            less than the rows of the class, and 0 for a single row.
        """
        rank = self.whitening_map.shape[1]
        for first, last in _groups((counts.clamp(max=rank) * rank).tolist()):
            scatters = self._scatters(classes[first:last], counts[first:last], means[first:last])
            for scatter, count in zip(scatters, counts[first:last], strict=True):
                yield _principal_axes(scatter, count)

    def _scatters(self, classes: Tensor, counts: Tensor, means: Tensor) -> list[Tensor]:
        """Centred rows of each class [n, r], or where they are more than r, X^T X [r, r].

        Either has the singular values that matter, the second their squares.
        """
        rank = self.whitening_map.shape[1]
        rows: list[list[Tensor]] = [[] for _ in classes]
        moments = [means.new_zeros((rank, rank)) if n > rank else None for n in counts]
        for batch in self.source.batches(arrays=("features", "labels")):
            for i, label in enumerate(classes):
                own = batch.features[batch.labels == label]
                if len(own) == 0:
                    continue
                centred = prepared(own, self.normalise) @ self.whitening_map - means[i]
                moment = moments[i]
                if moment is None:
                    rows[i].append(centred)
                else:
                    moment += centred.T @ centred
        return [
            torch.cat(rows[i]) if moment is None else moment for i, moment in enumerate(moments)
        ]


def _groups(sizes: list[float]) -> Iterator[tuple[int, int]]:
    """Yield ranges of neighbouring classes, each of at most `FIT_VALUES` or one class."""
    first, total = 0, 0.0
    for i, size in enumerate(sizes):
        if i > first and total + size > FIT_VALUES:
            yield first, i
            first, total = i, 0.0
        total += size
    yield first, len(sizes)


def _principal_axes(scatter: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Variances [s] and directions [r, s] of a class, from what `_scatters` gives."""
    if count > scatter.shape[1]:
        values, vectors = torch.linalg.eigh(scatter / count)
    else:
        # The rows' products with one another have the same eigenvalues and are fewer.
        values, vectors = torch.linalg.eigh(scatter @ scatter.T / count)
        vectors = scatter.T @ vectors
    # Rows that are equal to their mean have no direction, only rounding noise.
    kept = values > RELATIVE_FLOOR * values[-1].clamp(min=RELATIVE_FLOOR)
    return values[kept], normalize(vectors[:, kept], dim=0)


Entry = ClassGaussian
