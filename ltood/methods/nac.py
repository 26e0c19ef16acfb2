"""NAC: how usual the state of each neuron is among the training rows.

Source: Liu, Tian, Li, Ma and Yang, "Neuron Activation Coverage: Rethinking Out-of-distribution
Detection and Generalization", ICLR 2024 (arXiv:2306.02879), as the authors' code applies it
to the pooled penultimate layer. The state of a neuron is the sigmoid of its activation times
the gradient of KL(uniform || softmax) by it, which is W^T (p - u) in closed form, so that no
network is needed. As in their code, bins are narrow around 0.5, the state of a silent neuron,
and grow geometrically towards 0 and 1; `edges: uniform` makes them equal, which their code
has as a comment. Departures: one layer, where the paper adds up four; all training rows
fill the histograms, where the authors draw 1000, so `o_star` is a share, not a count; of uniform
bins the last one holds a state of exactly 1, too.

For this layer the authors publish alpha 100 and o_star 50 of 1000 rows on CIFAR-10, the defaults
here, 50 and 50 on CIFAR-100, 3000 and 10 on ImageNet with ResNet-50, all with M = 50.

Formula:
    s_d = sigmoid(alpha f_d sum_c (p_c - 1/C) w_cd),  p = softmax(z)
    score = -mean_d min(share of training rows in the bin of s_d / o_star, 1)
    geometric edges e_i = log_1000(1 + i (sqrt(1000) - 1) / h), 1 - e_i for i = 0 ... h,
        h = bins / 2
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Features, Logits, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Limits, Positive, Share
from ltood.core.settings import Settings
from ltood.core.slots import Method

#: Base of the logarithm that spaces geometric edges, the authors' 1e3.
BASE = 1000.0


@dataclass(frozen=True)
class Config(Settings):
    """Settings of NAC; the defaults are the authors' for this layer on CIFAR-10.

    Attributes:
        bins: Bins of the histogram of each neuron, between states 0 and 1; 1 or more, and an
            even number with geometric edges. The authors' M is two more: a last bin of theirs
            lies above 1.
        edges: Where bins meet: geometric ones are dense around 0.5, uniform ones equally far
            apart.
        alpha: Steepness of the sigmoid, above 0. The authors take 3000 on ImageNet.
        o_star: Share of the training rows in a bin from which on it counts as covered,
            above 0 and at most 1. The authors take 50 rows of 1000; 10 on ImageNet.
    """

    bins: Annotated[int, Limits(at_least=1, at_most=10_000)] = 48
    edges: Literal["geometric", "uniform"] = "geometric"
    alpha: Positive = 100.0
    o_star: Share = 0.05

    def check(self) -> None:
        """Refuse an odd number of geometric bins, which could not mirror each other."""
        if self.edges == "geometric" and self.bins % 2:
            raise self.fault(
                "bins",
                f"is {self.bins}, but geometric edges mirror each other at 0.5; give an even "
                "number, or edges: uniform.",
            )


class NAC(Method[Config]):
    """Scores rows by the negative of the mean coverage of their neurons' states."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head's weight and learn how covered each bin of each neuron is.

        Raises:
            DataError: If there is not one training row.
        """
        source, weight = inputs.require_train(), inputs.require_head().weight
        if len(source) == 0:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        self.edges_ = inner_edges(self.config).to(weight.device)
        size = source.dim * self.config.bins

        def of_own() -> Tensor:
            counts = torch.zeros(size, dtype=torch.int64, device=weight.device)
            for batch in inputs.crew.batches(source, ("features", "logits")):
                cells = self._cells(batch.features, batch.logits, weight)
                counts += torch.bincount(cells.flatten(), minlength=size)
            return counts

        counts = inputs.crew.total(of_own)
        covered = counts.double() / (self.config.o_star * len(source))
        self.coverage_ = covered.clamp(max=1).float()
        self.weight_ = weight
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 0]; higher means more OOD."""
        cells = self._cells(batch.features, batch.logits, self.learned("weight_"))
        return -self.learned("coverage_")[cells].mean(dim=1)

    def _cells(self, features: Features, logits: Logits, weight: Tensor) -> Tensor:
        """Cell of each neuron's state in the table of all neurons' bins, [N, D] int64."""
        states = neuron_states(features, logits, weight, self.config.alpha)
        # A state on an edge is in the upper bin.
        bins = torch.bucketize(states, self.learned("edges_"), right=True)
        return bins + self.config.bins * torch.arange(bins.shape[1], device=bins.device)


def inner_edges(config: Config) -> Tensor:
    """Where bins between 0 and 1 meet, [bins - 1] float64 in ascending order."""
    if config.edges == "uniform":
        return torch.from_numpy(np.linspace(0, 1, config.bins + 1)[1:-1])
    # NumPy's logarithms are those that the authors' edges rest on.
    steps = np.linspace(1, np.sqrt(BASE), config.bins // 2 + 1)
    lower = np.log(steps) / np.log(BASE)
    return torch.from_numpy(np.concatenate([lower[1:-1], 1 - lower[:0:-1]]))


def neuron_states(features: Features, logits: Logits, weight: Tensor, alpha: float) -> Tensor:
    """Sigmoid of activation times gradient, [N, D] float64 in [0, 1].

    In float64 so that no state changes its bin with the size of the batch.

    Args:
        features: [N, D].
        logits: Of the same rows, [N, C].
        weight: Class weights, [C, D].
        alpha: Steepness of the sigmoid.
    """
    probabilities = torch.softmax(logits.double(), dim=1)
    gradient = (probabilities - 1 / weight.shape[0]) @ weight.double()
    return torch.sigmoid(alpha * features.double() * gradient)


Entry = NAC
