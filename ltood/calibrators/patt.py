"""PATT: attention over feature dimensions from class means and auxiliary outliers.

Source: He, Peng, Zhang, Weng, Luo and Li, "Long-Tailed Out-of-Distribution Detection:
Prioritizing Attention to Tail", AAAI 2025 (arXiv:2408.06742), the calibration of its
inference stage. Departures from the authors' code, each with a switch back:
`official_recursive` (their running sum multiplies by the batch number and overflows;
ours is the mean, in the expectation of class-balanced sampling, so free of chance) and
`official_test_leak` (their CIFAR script learns from labelled test images; ours from the
training split the paper names). Their random crops and sampling are omitted.

Formula:
    F_d = mean_c w_cd m_cd / prior_c - mean over outliers of w_yd f_d / prior_y,  y = argmax z
    a = low + (high - low) (F - min F) / (max F - min F)
    f' = a * f;  logits follow from f'
    m_c mean training feature of class c
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Features, FeatureSource, Labels
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count
from ltood.core.settings import Settings
from ltood.core.slots import Calibrator
from ltood.ops.statistics import check_labels, class_statistics

Rho = Literal["virtual", "mid_prior"]


@dataclass(frozen=True)
class Config(Settings):
    """Settings of PATT's calibration.

    Attributes:
        rho: Weight of an outlier row: one over the prior of its predicted class
            ("virtual", the authors' CIFAR code) or of class number C // 2 ("mid_prior",
            their ImageNet code).
        low: Smallest attention; finite and below `high`.
        high: Largest attention; finite.
        official_recursive: Use the authors' recursion over batches in stored order,
            whole batches only, as long as both splits last.
        official_batch: Training rows of one batch of that recursion; 1 or more.
        official_aux_batch: Outlier rows of one batch of that recursion; 1 or more.
        official_test_leak: Learn from the labelled test split instead of train. Only for
            reproduction: results are then not comparable with anything.
    """

    rho: Rho = "virtual"
    low: float = 0.0
    high: float = 2.0
    official_recursive: bool = False
    official_batch: Count = 1000
    official_aux_batch: Count = 1000
    official_test_leak: bool = False

    def check(self) -> None:
        """Refuse a range of attention that is empty."""
        if not self.low < self.high:
            raise self.fault(
                "low", f"is {self.low} and high is {self.high}; it must be below high."
            )


def label_sums(features: Features, labels: Labels, num_classes: int) -> Tensor:
    """Sum of the features of each class, [C, D] float64."""
    sums = features.new_zeros((num_classes, features.shape[1]), dtype=torch.float64)
    return sums.index_add_(0, labels, features.double())


def head_weighted(sums: Tensor, weight: Tensor, class_weights: Tensor) -> Tensor:
    """Sum over classes of class weight x head row x feature sum, [D] float64.

    Args:
        sums: Feature sums or means of each class, [C, D] float64.
        weight: Head weights, [C, D].
        class_weights: [C] float64.
    """
    return torch.einsum("c,cd,cd->d", class_weights, weight.double(), sums)


def rescale(importance: Tensor, low: float, high: float) -> Tensor:
    """Map the smallest entry to `low` and the largest to `high`, linearly, [D].

    Equal entries favour no dimension, so all become 1.
    """
    smallest, largest = importance.min(), importance.max()
    if smallest == largest:
        return torch.ones_like(importance)
    return low + (high - low) * (importance - smallest) / (largest - smallest)


class PATT(Calibrator[Config]):
    """Scales each feature dimension by its importance to tail classes against outliers."""

    needs: frozenset[Need] = frozenset({Need.TRAIN, Need.AUX, Need.HEAD, Need.PRIOR})
    dim_axis: tuple[str, int] = ("attention_", 0)

    def _configure(self) -> None:
        """Take the settings."""
        self.train_split = "test" if self.config.official_test_leak else "train"

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the attention of each dimension.

        Raises:
            MissingNeedError: If training rows, outliers, head or prior are missing.
            DataError: If a split has no rows, a class no training image, or the official
                recursion meets no whole batch or overflows.
        """
        if self.config.official_recursive:
            importance = self._recursion(inputs)
        else:
            importance = _mean(inputs, self.config.rho)
        self.attention_ = rescale(importance, self.config.low, self.config.high).float()
        return self

    def _transform(self, features: Features) -> Features:
        """Features times attention, [N, D] float32; the input is left unchanged."""
        return features.float() * self.learned("attention_")

    def derived(self) -> dict[str, float]:
        """Mean attention, by which logits grow on the whole."""
        return {"mean_attention": float(self.learned("attention_").mean())}

    def _recursion(self, inputs: FitInputs) -> Tensor:
        """Importance F after the published F <- k F + (gain - loss) over batches k."""
        weight = inputs.require_head().weight
        gain_weights, loss_weights = _class_weights(inputs, self.config.rho)
        train = _whole_batches(
            inputs.require_train(), self.config.official_batch, "features", "labels"
        )
        aux = _whole_batches(inputs.require_aux(), self.config.official_aux_batch, "features")
        importance, num_batches = weight.new_zeros(weight.shape[1], dtype=torch.float64), 0
        for known, outliers in zip(train, aux, strict=False):
            check_labels(known.labels, len(weight))
            gain = label_sums(known.features, known.labels, len(weight)) / len(known)
            loss = _virtual_sums(outliers.features, inputs) / len(outliers)
            importance = num_batches * importance + (
                head_weighted(gain, weight, gain_weights)
                - head_weighted(loss, weight, loss_weights)
            )
            num_batches += 1
        if num_batches == 0:
            raise DataError(
                f"{self.train_split} has {len(inputs.require_train())} rows and aux "
                f"{len(inputs.require_aux())}, fewer than one batch; set "
                "calibrators.patt.official_batch and official_aux_batch to at most these."
            )
        if not torch.isfinite(importance).all():
            raise DataError(
                f"the official recursion overflowed within {num_batches} batches; set a larger "
                "calibrators.patt.official_batch, or official_recursive to false."
            )
        return importance


def _mean(inputs: FitInputs, rho: Rho) -> Tensor:
    """Importance of each dimension: class-balanced gain minus mean loss on outliers."""
    weight = inputs.require_head().weight
    gain_weights, loss_weights = _class_weights(inputs, rho)
    source = inputs.require_aux()
    classes = class_statistics(inputs)
    gain = head_weighted(classes.means, weight, gain_weights) / classes.present.sum()
    if len(source) == 0:
        raise DataError(
            "split aux has no rows; patt needs outliers, so add some or set calibrator: none."
        )

    def of_own() -> Tensor:
        sums = torch.zeros_like(classes.sums)
        for batch in inputs.crew.batches(source, ("features",)):
            sums += _virtual_sums(batch.features, inputs)
        return sums

    sums = inputs.crew.total(of_own)
    return gain - head_weighted(sums, weight, loss_weights) / len(source)


def _class_weights(inputs: FitInputs, rho: Rho) -> tuple[Tensor, Tensor]:
    """Weights of the classes for training rows and for outliers, each [C] float64."""
    shares = inputs.require_prior().probabilities()
    inverse = torch.tensor(1 / shares, device=inputs.require_head().weight.device)
    if rho == "virtual":
        return inverse, inverse
    return inverse, inverse[len(inverse) // 2].expand_as(inverse)


def _virtual_sums(features: Features, inputs: FitInputs) -> Tensor:
    """Feature sums of outliers by the class that the uncalibrated head predicts."""
    head = inputs.require_head()
    return label_sums(features, head.logits(features).argmax(dim=1), head.num_classes)


def _whole_batches(source: FeatureSource, rows: int, *arrays: str) -> Iterator[FeatureBatch]:
    """Batches of exactly `rows` rows in stored order; a smaller rest is dropped."""
    pieces: list[FeatureBatch] = []
    waiting = 0
    for batch in source.batches(rows, arrays):
        start = 0
        while waiting + len(batch) - start >= rows:
            stop = start + rows - waiting
            yield _joined([*pieces, batch.slice(start, stop)])
            pieces, waiting, start = [], 0, stop
        pieces.append(batch.slice(start, len(batch)))
        waiting += len(batch) - start


def _joined(pieces: list[FeatureBatch]) -> FeatureBatch:
    labels = [piece.labels for piece in pieces if "labels" in piece.arrays]
    return FeatureBatch.of(
        torch.cat([piece.features for piece in pieces]),
        labels=torch.cat(labels) if labels else None,
    )


Entry = PATT
