"""KPCA: what the principal components of mapped features cannot reconstruct.

Source: Fang, Tao, Lv, He, Huang and Yang, "Kernel PCA for Out-of-Distribution Detection",
NeurIPS 2024 (arXiv:2402.02949); their code is the repository fanghenshaometeor/ood-kernel-pca.
`features: cosine` is their CoP, unit vectors, and `rff` their CoRP, random Fourier features of a
Gaussian kernel on top of them. Defaults are theirs for CIFAR-10; for ImageNet they take 0.99 as
`explained` of CoP, and 0.5 with gamma 3 and width 4096 for CoRP. Departures: random features are
drawn from a seed of their own and kept; where the share of variance takes all components but
the last, theirs keeps all but the last by accident, ours on purpose, so that something is left
to reconstruct; fusion with energy, which may be negative, passes it through a softplus, which
leaves large ones as they are. Their fusion with ReAct and BATS, which maps other features, is
left out.

Formula:
    u = f / |f|;  phi = u for cosine, sqrt(2 / M) cos(V u + b) for rff
    V of M rows from N(0, 2 gamma), b uniform in 0 to 2 pi
    e = |(I - P P') (phi - m)|
    P fewest principal components of phi around its mean m with the share explained
    score = e for none, (e - 1) max p for msp, (e - 1) softplus(logsumexp(z)) for energy
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.crew import Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Limits, Positive, Seed
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.blas import add_gram, symmetric, symmetric_eigen
from ltood.ops.gaussian import RELATIVE_FLOOR, tied_gaussian
from ltood.ops.lengths import lengths, unit
from ltood.ops.logits import energy, max_softmax
from ltood.ops.statistics import WIDE_ROWS

Explained = Annotated[float, Limits(above=0, below=1)]

#: The paper's shares of variance for CIFAR-10, which "auto" stands for.
EXPLAINED = {"cosine": 0.85, "rff": 0.8}


@dataclass(frozen=True)
class Config(Settings):
    """Settings of KPCA.

    Attributes:
        features: What is reconstructed: unit vectors ("cosine") or random Fourier features of
            them ("rff").
        explained: Share of the variance that the kept components explain, above 0 and below 1;
            "auto" is the paper's for CIFAR-10, 0.85 for cosine and 0.8 for rff.
        gamma: Of the Gaussian kernel exp(-gamma |u - v|^2) that rff stands for, above 0.
        width: Number of random Fourier features; 2 or more. Fitting needs memory for a square
            matrix of this size, and time that grows with its cube.
        seed: Seed of the random Fourier features.
        fusion: Confidence that the reconstruction error is multiplied with, as the paper does on
            ImageNet: none, the largest probability or the energy.
    """

    features: Literal["cosine", "rff"] = "cosine"
    explained: Explained | Literal["auto"] = "auto"
    gamma: Positive = 2.0
    width: Annotated[int, Limits(at_least=2, at_most=100_000)] = 2048
    seed: Seed = 0
    fusion: Literal["none", "msp", "energy"] = "none"


class KPCA(Method[Config]):
    """Scores rows by the length of what the principal components leave of them."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("mean_", 0)

    def _configure(self) -> None:
        """Random features know the width in their weights; fusion reads logits."""
        if self.config.features == "rff":
            self.dim_axis = ("frequencies_", 1)
        if self.config.fusion != "none":
            self.arrays = ("features", "logits")

    def _fit(self, inputs: FitInputs) -> Self:
        """Draw the random features, then learn mean and principal components.

        Two passes over the training rows for cosine, whose statistics other methods share, one
        for rff. Memory is that of one square matrix, whatever the number of rows.

        Raises:
            DataError: If there is not one row, or all rows are alike.
        """
        config = self.config
        drawn = (config.gamma, config.width, config.seed)
        if config.features == "rff":
            self.frequencies_, self.phases_ = random_features(inputs, config)
        key = ("kpca", config.features, *(() if config.features == "cosine" else drawn))
        self.mean_, values, directions = inputs.cached(key, lambda: self._components(inputs))
        share = EXPLAINED[config.features] if config.explained == "auto" else config.explained
        self.directions_ = directions[:, : num_kept(values, share)].contiguous()
        return self

    def _components(self, inputs: FitInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variances in descending order and their directions, of the mapped rows."""
        if self.config.features == "cosine":
            model = tied_gaussian(inputs, normalise=True)
            mean, covariance = model.classes.mean, model.total_covariance
        else:
            mean, covariance = self._moments(inputs)
        values, directions = symmetric_eigen(covariance)
        values, directions = values.flip(0).clamp(min=0), directions.flip(1)
        # Mapped rows are of length 1 or so, therefore this is an absolute bound.
        if not values[0] > RELATIVE_FLOOR:
            raise DataError(
                "the training features all point in one direction, so kpca finds no component; use "
                "more training rows, or another method."
            )
        return mean.float(), values, directions.float()

    def _moments(self, inputs: FitInputs) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the random Fourier features of the training rows, float64."""
        source, width = inputs.require_train(), self.config.width
        if len(source) == 0:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        frequencies = self.frequencies_.double()

        def of_own() -> Seen:
            scatter = frequencies.new_zeros((width, width))
            total = frequencies.new_zeros(width)
            for batch in inputs.crew.batches(source, ("features",)):
                for rows in torch.split(batch.features, WIDE_ROWS):
                    mapped = fourier(rows.double(), frequencies, self.phases_)
                    add_gram(scatter, mapped)
                    total += mapped.sum(dim=0)
            return scatter, total

        seen = inputs.crew.summed(of_own)
        assert seen is not None
        scatter, total = seen
        mean = total / len(source)
        return mean, symmetric(scatter) / len(source) - mean[:, None] * mean

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        errors = [self._errors(rows) for rows in torch.split(batch.features, WIDE_ROWS)]
        error = torch.cat([batch.features.new_zeros(0), *errors])
        # A product with a confidence grows with ID-ness where the error is below 1.
        if self.config.fusion == "msp":
            return (error - 1) * max_softmax(batch.logits)
        if self.config.fusion == "energy":
            return (error - 1) * softplus(-energy(batch.logits))
        return error

    def _errors(self, rows: Features) -> Tensor:
        """Length of what is not reconstructed, [n] float32."""
        if self.config.features == "rff":
            mapped = fourier(rows, self.learned("frequencies_"), self.learned("phases_"))
        else:
            mapped = unit(rows)
        centred = mapped - self.learned("mean_")
        directions = self.learned("directions_")
        return lengths(centred - (centred @ directions) @ directions.T)

    def derived(self) -> dict[str, float]:
        """The number of components."""
        return {"components": self.learned("directions_").shape[1]}


def num_kept(values: Tensor, explained: float) -> int:
    """Fewest components that explain the share, one at least and not all.

    Args:
        values: Variances in descending order, [M].
        explained: Share of their sum.
    """
    shares = values.cumsum(0) / values.sum()
    needed = int(torch.searchsorted(shares, explained)) + 1
    return max(1, min(needed, len(values) - 1))


def random_features(inputs: FitInputs, config: Config) -> tuple[Tensor, Tensor]:
    """Frequencies, [M, D], and phases, [M], of the random Fourier features; float32.

    Drawn on the CPU, so that they are the same on every device.
    """
    generator = torch.Generator().manual_seed(config.seed)
    source = inputs.require_train()
    drawn = torch.randn(config.width, source.dim, generator=generator)
    phases = 2 * math.pi * torch.rand(config.width, generator=generator)
    device = next((b.features.device for b in source.batches(1, ("features",))), drawn.device)
    return (math.sqrt(2 * config.gamma) * drawn).to(device), phases.to(device)


def fourier(rows: Tensor, frequencies: Tensor, phases: Tensor) -> Tensor:
    """Random Fourier features of the directions of rows, [n, M] in their type.

    Args:
        rows: [n, D].
        frequencies: [M, D] of the same type.
        phases: [M].
    """
    mapped: Tensor = (unit(rows) @ frequencies.T + phases).cos_()
    return mapped.mul_(math.sqrt(2 / len(frequencies)))


Entry = KPCA
