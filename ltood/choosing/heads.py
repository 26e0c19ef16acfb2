"""The head of the remaining classes: rows of the given one, or fitted to their rows anew.

A head that was trained with all classes knows those that are held out: dropping their rows leaves
weights that were pushed away from them. For a head of text embeddings it is exact, since no class
has seen another; elsewhere multinomial logistic regression on the cached features of the
remaining classes is what training the last layer without them would give.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import FeatureSource
from ltood.core.head import ClassifierHead
from ltood.core.head_schema import HEAD_SHAPES
from ltood.ops.statistics import EXACT_VALUES

#: Steps of L-BFGS at most, and the largest gradient that counts as none.
MOST_STEPS = 200
TOLERANCE = 1e-3
#: Typical p (1 - p) of a class probability, by which cross-entropy curves.
CURVATURE = 0.05


def sliced(head: ClassifierHead, kept: Tensor) -> ClassifierHead:
    """The head without the rows of other classes.

    Args:
        head: Head of C classes.
        kept: Classes that remain, [K] int64.

    Returns:
        Head of K classes; what does not belong to a class stays.
    """
    kept = kept.to(head.weight.device)
    of_classes = {
        name: array[kept]
        for name, array in head.arrays().items()
        if HEAD_SHAPES[name][:1] == ("C",)
    }
    # Experts have all their outputs in one array, the auxiliary ones last.
    extra = torch.arange(head.num_classes, head.num_classes + head.num_aux_outputs)
    outputs = torch.cat([kept, extra.to(kept.device)])
    of_experts = {
        name: array[:, outputs]
        for name, array in head.arrays().items()
        if HEAD_SHAPES[name][1:2] == ("C + e",)
    }
    return replace(head, **of_classes, **of_experts)


def refitted(
    head: ClassifierHead,
    train: FeatureSource,
    decay: float = 5e-4,
    *,
    tolerance: float = TOLERANCE,
) -> ClassifierHead:
    """The head with weight and bias that minimise the loss on the rows of `train`.

    The loss is the mean cross-entropy plus decay / 2 times the squared length of the weight,
    which is what training with weight decay minimises. L-BFGS starts from the head that is given
    and works on centred features, each in units of its own; the minimum does not depend on them.

    Args:
        head: Head of K classes to start from.
        train: Rows with labels 0 to K - 1.
        decay: Weight decay, above 0.
        tolerance: Largest gradient, in these units, that counts as none.
    """
    from scipy.optimize import minimize

    rows = _Rows(train)
    mean, variance = _moments(rows)
    # About the root of the curvature of loss and decay along each weight.
    scale = (CURVATURE * variance + decay).sqrt()

    def head_of(flat: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        scaled = torch.from_numpy(flat).to(scale.device).view(-1, len(scale) + 1)
        weight = scaled[:, :-1] / scale
        return weight, scaled[:, -1] - weight @ mean

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, of_weight, of_bias = _loss(rows, *head_of(flat), decay)
        of_weight = (of_weight - of_bias[:, None] * mean) / scale
        return value, torch.cat([of_weight, of_bias[:, None]], dim=1).flatten().cpu().numpy()

    weight = head.weight.double()
    start = torch.cat([weight * scale, (head.bias + weight @ mean)[:, None]], dim=1)
    found = minimize(
        loss,
        start.flatten().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "gtol": tolerance, "ftol": 0.0, "maxcor": 20},
    )
    weight, bias = head_of(found.x)
    # It is then no longer the mean of its experts.
    return replace(
        head, weight=weight.float(), bias=bias.float(), expert_weight=None, expert_bias=None
    )


class _Rows:
    """Features and labels to pass over many times, kept in memory where they are few."""

    def __init__(self, source: FeatureSource) -> None:
        self._source = source
        few = len(source) * source.dim <= EXACT_VALUES
        self._kept = list(self._read()) if few else None

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._source.batches(arrays=("features", "labels")):
            yield batch.features, batch.labels

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._read() if self._kept is None else self._kept)

    def wide(self) -> Iterator[Tensor]:
        """Features in float64, batch by batch."""
        return (features.double() for features, _ in self)

    def __len__(self) -> int:
        return len(self._source)


def _moments(rows: _Rows) -> tuple[Tensor, Tensor]:
    """Mean and variance of each feature over all rows, [D] float64."""
    sums = [torch.stack([wide.sum(dim=0), wide.square().sum(dim=0)]) for wide in rows.wide()]
    mean, square = torch.stack(sums).sum(dim=0) / len(rows)
    return mean, (square - mean.square()).clamp(min=0)


def _loss(rows: _Rows, weight: Tensor, bias: Tensor, decay: float) -> tuple[float, Tensor, Tensor]:
    """Loss, and its gradients with respect to weight, [K, D], and bias, [K]."""
    value = decay / 2 * weight.square().sum()
    of_weight, of_bias = decay * weight, torch.zeros_like(bias)
    for features, labels in rows:
        wide = features.double()
        log_shares = (wide @ weight.T + bias).log_softmax(dim=1)
        value -= log_shares.gather(1, labels[:, None]).sum() / len(rows)
        error = log_shares.exp()
        error[torch.arange(len(labels), device=labels.device), labels] -= 1
        error /= len(rows)
        of_weight += error.T @ wide
        of_bias += error.sum(dim=0)
    return float(value), of_weight, of_bias
