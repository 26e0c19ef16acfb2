"""WeiPer+KLD: divergence of the histograms of features and perturbed logits from training.

Source: Granz, Heurich and Landgraf, "WeiPer: OOD Detection using Weight Perturbations of
Class Projections", NeurIPS 2024 (arXiv:2405.17164). The head is repeated with random noise on
its weights; the histogram of a row's features, and that of its perturbed logits, are compared
with the mean histograms of the training rows by the symmetric Kullback-Leibler divergence,
and the mean maximum softmax of the repeats is subtracted. As in the authors' code, only the
row's histogram is smoothed, and a small constant is added to both. Departures: the range of
the bins comes from all training rows, not from the first batch; the noise is drawn from a
fixed seed, repeat by repeat, and dealt to classes by their weights, not their numbers, so
that scores neither change from run to run nor with the order of the classes; of more training
rows than 50,000, the size of CIFAR, that many are taken.

The defaults are the authors' settings for CIFAR-10 with ResNet-18. For CIFAR-100 with ResNet-18
they publish distance 2.4, weight_perturbed 0.1, weight_msp 1 and smoothing_perturbed 40; for
ImageNet with ResNet-50 distance 2.4, weight_msp 0.25 and smoothing 40; for ImageNet with
ViT-B/16 distance 2, bins 80 and smoothing 40.

Formula:
    d(x) = KL(a || b) + KL(b || a), a the mean histogram of training rows, b that of the row
    score = d(f) + weight_perturbed * d(all z_r) - weight_msp * mean_r max softmax(z_r)
    z_r = (W + noise_r) f + b for r = 1 ... repeats
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, normalize, pad

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Limits, NonNegative, Seed
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.spaced import spaced

#: What is added to each bin of the histogram of features and of perturbed logits, so that
#: empty bins have a logarithm; the constants of the authors' code.
FEATURE_FLOOR = 0.01
PERTURBED_FLOOR = 0.025

#: The two histograms of a row, as rows of `ranges_` and `densities_`: of its features, and of
#: its logits under all perturbed heads.
FEATURES, LOGITS = 0, 1

#: Rows that meet the noisy heads together, and most perturbed logits of them held at once; the
#: weights are far more than a cache holds and are read once for all these rows.
BLOCK_ROWS = 512
CHUNK_VALUES = 2**22

#: Values that are counted or exponentiated at once: few enough to stay in a processor's cache.
CACHED_VALUES = 2**18


@dataclass(frozen=True)
class Config(Settings):
    """Settings of WeiPer+KLD; the defaults are the authors' for CIFAR-10.

    Attributes:
        repeats: Noisy copies of the head, 1 or more.
        distance: Length of the noise relative to that of the class weight, 0 or more.
        bins: Bins of each histogram, 1 or more.
        smoothing: Bins that one bin of the features' histogram is averaged over, 1 or more.
        smoothing_perturbed: The same for the perturbed logits.
        weight_perturbed: Factor of the divergence of the perturbed logits, 0 or more.
        weight_msp: Factor of the mean maximum softmax, 0 or more.
        seed: Seed of the noise.
        fit_rows: Training rows that ranges and mean histograms come from at most, evenly
            spaced; each costs repeats x C x D products, twice.
    """

    repeats: Annotated[int, Limits(at_least=1, at_most=1000)] = 100
    distance: NonNegative = 1.8
    bins: Annotated[int, Limits(at_least=1, at_most=10_000)] = 100
    smoothing: Annotated[int, Limits(at_least=1, at_most=10_000)] = 4
    smoothing_perturbed: Annotated[int, Limits(at_least=1, at_most=10_000)] = 15
    weight_perturbed: NonNegative = 2.5
    weight_msp: NonNegative = 0.1
    seed: Seed = 0
    fit_rows: Count = 50_000


class WeiPerKLD(Method[Config]):
    """Scores rows by the divergence of their densities from the training rows'."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    _perturbed: tuple[Tensor, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """State for copies and pickles, without the noisy heads, which the seed reproduces."""
        return {**vars(self), "_perturbed": None}

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the ranges of the bins, then the mean histograms of the training rows.

        Raises:
            DataError: If there is not one training row.
        """
        head, source = inputs.require_head(), inputs.require_train()
        if len(source) == 0:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        source = spaced(source, self.config.fit_rows)
        self.weight_, self.bias_ = head.weight, head.bias
        bounds = torch.tensor([[math.inf, -math.inf]] * 2, dtype=torch.float64)
        for batch in source.batches(arrays=("features",)):
            for features in torch.split(batch.features, BLOCK_ROWS):
                for histogram, values in self._values(features):
                    low, high = torch.aminmax(values)
                    bounds[histogram, 0] = torch.minimum(bounds[histogram, 0], low.cpu())
                    bounds[histogram, 1] = torch.maximum(bounds[histogram, 1], high.cpu())
        # The extremes lie inside the first and last bin by the mean gap between rows.
        gap = (bounds[:, 1] - bounds[:, 0]) / len(source)
        self.ranges_ = torch.stack([bounds[:, 0] - gap, bounds[:, 1] + gap], dim=1)
        sums = torch.zeros((2, self.config.bins), dtype=torch.float64, device=head.weight.device)
        for batch in source.batches(arrays=("features",)):
            for features in torch.split(batch.features, BLOCK_ROWS):
                for histogram, values in self._values(features):
                    sums[histogram] += self._counts(values, histogram).sum(dim=0)
        self.densities_ = sums / sums.sum(dim=1, keepdim=True)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        self.learned("densities_")
        parts = [self._divergences(part) for part in torch.split(batch.features, BLOCK_ROWS)]
        return torch.cat(parts).float()

    def _divergences(self, features: Features) -> Tensor:
        """OOD scores of at most `BLOCK_ROWS` rows, [n] float64."""
        config, densities = self.config, self.learned("densities_")
        num_classes = len(self.learned("bias_"))
        found = [densities.new_zeros((len(features), config.bins)) for _ in densities]
        confidence = densities.new_zeros(len(features))
        for histogram, values in self._values(features):
            found[histogram] += self._counts(values, histogram)
            if histogram == LOGITS:
                confidence += _confidence(values, num_classes)
        feature_gap = divergence(
            densities[FEATURES],
            found[FEATURES] / features.shape[1],
            config.smoothing,
            FEATURE_FLOOR,
        )
        logit_gap = divergence(
            densities[LOGITS],
            found[LOGITS] / (config.repeats * num_classes),
            config.smoothing_perturbed,
            PERTURBED_FLOOR,
        )
        certainty = config.weight_msp * confidence / config.repeats
        return feature_gap + config.weight_perturbed * logit_gap - certainty

    def _values(self, features: Features) -> Iterator[tuple[int, Tensor]]:
        """Yield the values of each histogram: `FEATURES` once, then `LOGITS`, [n, ...] float64.

        The logits come in groups of whole heads, head by head.
        """
        # float64 so that no logit changes its bin with the size of the batch.
        wide = features.double()
        yield FEATURES, wide
        weight, bias = self.learned("weight_"), self.learned("bias_").double()
        if self._perturbed is None or self._perturbed[0] is not weight:
            config = self.config
            noisy = perturbed_weights(weight, config.repeats, config.distance, config.seed)
            self._perturbed = weight, noisy
        heads = max(1, CHUNK_VALUES // (BLOCK_ROWS * len(bias)))
        for group in torch.split(self._perturbed[1], heads * len(bias)):
            yield LOGITS, torch.addmm(bias.repeat(len(group) // len(bias)), wide, group.T)

    def _counts(self, values: Tensor, histogram: int) -> Tensor:
        """How many values of each row lie in each bin of a histogram, [n, bins] float64."""
        low, high = self.learned("ranges_")[histogram].tolist()
        return counts(values, low, high, self.config.bins)


def perturbed_weights(weight: Tensor, repeats: int, distance: float, seed: int) -> Tensor:
    """Copies of the class weights with noise of fixed relative length, [repeats x C, D] float64.

    Equal weights share their noise; a longer run repeats a shorter one.

    Args:
        weight: Class weights, [C, D].
        repeats: Number of copies.
        distance: Length of the noise relative to that of the class weight.
        seed: Seed of the noise.
    """
    wide = weight.double().cpu()
    # Ranks in the order of the weights: the same class gets the same noise in any order.
    distinct, rank = torch.unique(wide, dim=0, return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    lengths = distance * torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    copies = []
    for _ in range(repeats):
        noise = torch.randn(distinct.shape, generator=generator, dtype=torch.float64)
        copies.append(wide + lengths * normalize(noise, dim=1)[rank])
    return torch.cat(copies).to(weight.device)


def counts(values: Tensor, low: float, high: float, bins: int) -> Tensor:
    """How many values of each row lie in each of `bins` equal bins, [n, bins] float64.

    Values outside `low` to `high` are in no bin.

    Args:
        values: [n, V] float64.
        low: Lower edge of the first bin.
        high: Upper edge of the last bin; may equal `low`, which is then in the first bin.
        bins: Number of bins.
    """
    scale = bins / (high - low) if high > low else 0.0
    found = values.new_zeros((len(values), bins))
    rows = max(1, CACHED_VALUES // values.shape[1])
    for part, part_found in zip(torch.split(values, rows), torch.split(found, rows), strict=True):
        if not len(part):
            continue
        least, most = torch.aminmax(part)
        places = (part - low).mul_(scale)
        if low <= least and most <= high:  # As in training, from whose rows the range comes.
            weights = part.new_ones(()).expand_as(part)
        else:
            inside = (part >= low) & (part <= high)
            places.masked_fill_(~inside, 0)
            weights = inside.to(part.dtype)
        part_found.scatter_add_(1, places.long().clamp_(max=bins - 1), weights)
    return found


def _confidence(logits: Tensor, classes: int) -> Tensor:
    """Sum over the heads of their maximum softmax, [n], from logits [n, heads x classes]."""
    sums = []
    for part in torch.split(logits, max(1, CACHED_VALUES // logits.shape[1])):
        by_head = part.reshape(len(part), part.shape[1] // classes, classes)
        gaps = by_head - by_head.amax(dim=2, keepdim=True)
        sums.append(gaps.exp_().sum(dim=2).reciprocal_().sum(dim=1))
    return torch.cat(sums)


def divergence(expected: Tensor, density: Tensor, smoothing: int, floor: float) -> Tensor:
    """Symmetric Kullback-Leibler divergence between one histogram and many, [n], at least 0.

    Args:
        expected: Mean histogram of the training rows, [bins]; not smoothed.
        density: Histogram of each row, [n, bins]; smoothed here.
        smoothing: Bins that each bin is averaged over; the outermost bins continue outwards.
        floor: Added to each bin of both.
    """
    before = (smoothing - 1) // 2
    # Padding asks for a channel, pooling for a batch: [n, 1, bins] serves both.
    padded = pad(density[:, None], (before, smoothing - 1 - before), mode="replicate")
    found = avg_pool1d(padded, smoothing, stride=1)[:, 0] + floor
    found = found / found.sum(dim=1, keepdim=True)
    wanted = (expected + floor) / (expected + floor).sum()
    # KL(p || q) + KL(q || p) in one sum.
    return ((wanted - found) * (wanted.log() - found.log())).sum(dim=1)


Entry = WeiPerKLD
