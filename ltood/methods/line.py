"""LINe: clip features, then keep only neurons and weights that matter to the predicted class.

Source: Ahn, Park and Kim, "LINe: Out-of-Distribution Detection by Leveraging Important
Neurons", CVPR 2023 (arXiv:2303.13995). The importance of neuron d to class c, the mean
over its training rows of activation times gradient, is the class mean times the head
weight, as the head is linear; no gradients are needed. Percentiles are those of the
authors' code, weight 90 with activation 90 for CIFAR-10 and 10 for CIFAR-100, both 10
for ImageNet, with clips of 1, 1 and 0.8. Departure: the default clip is the 98th
percentile of the training activations, because a fixed one belongs to one network.
`smoothing` adds the prototype cosine of HIMPLoS (arXiv:2310.18104).

Formula:
    i_cd = w_cd * mean of f_d over training rows of class c;  y = argmax z of g = min(f, clip)
    h_d = g_d where i_yd > activation percentile of i_y, else 0
    V_cd = w_cd where |i_yd| w_cd > weight percentile of all of these, else 0
    score = S(V h + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.graphs import is_written
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.products import product_percentile, strict_bounds
from ltood.ops.shaping import (
    CLIP_PERCENTILE,
    Clip,
    clip_above,
    clip_ceiling,
    overall_percentile,
    prototype_cosine,
)
from ltood.ops.statistics import class_statistics


@dataclass(frozen=True)
class Config(Settings):
    """Settings of LINe.

    Attributes:
        weight_percentile: Percent of all head weights to drop for each class, 0 to 100.
        activation_percentile: Percent of the activations to drop for each class, 0 to 100.
        clip: Largest activation to let through, above 0; "auto" is `clip_percentile` of
            the training activations, null no clip.
        clip_percentile: Percentile that "auto" stands for, 0 to 100.
        smoothing: Whether to scale logits by the cosine of the clipped feature to the
            prototype of the class they favour.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    weight_percentile: Percent = 90.0
    activation_percentile: Percent = 10.0
    clip: Clip = "auto"
    clip_percentile: Percent = CLIP_PERCENTILE
    smoothing: bool = False
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


def activation_thresholds(importance: Tensor, percentile: float) -> Tensor:
    """Percentile of the importance of the neurons to each class, [C] float64.

    Args:
        importance: Importance of each neuron to each class, [C, D] float64.
        percentile: 0 to 100.
    """
    return torch.stack([overall_percentile(row, percentile) for row in importance])


def weight_thresholds(importance: Tensor, weight: Tensor, percentile: float) -> Tensor:
    """Percentile of the contributions of all head weights to each class, [C] float64.

    Args:
        importance: Importance of each neuron to each class, [C, D] float64.
        weight: Head weights, [C, D].
        percentile: 0 to 100.
    """
    # One class at a time: all at once are C x C x D numbers, 16 GB on ImageNet.
    ordered = weight.T.double().sort(dim=1).values.contiguous()
    return torch.stack([product_percentile(row.abs(), ordered, percentile) for row in importance])


class LINe(Method[Config]):
    """Scores rows by the part of the head that matters to their predicted class.

    For a class without training rows nothing matters; rows predicted as that class get
    the score of the bias alone.
    """

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Find the importance of each neuron, its thresholds and the clip."""
        head, config = inputs.require_head(), self.config
        means = class_statistics(inputs).means
        importance = means * head.weight
        ceiling = clip_ceiling(config.clip, config.clip_percentile, inputs)
        self.weight_, self.bias_ = head.weight, head.bias
        self.clip_ = torch.tensor(ceiling, dtype=torch.float32, device=head.weight.device)
        self.importance_ = importance
        self.activation_thresholds_ = inputs.cached(
            ("line activations", config.activation_percentile),
            lambda: activation_thresholds(importance, config.activation_percentile),
        )
        self.weight_thresholds_ = inputs.cached(
            ("line weights", config.weight_percentile),
            lambda: weight_thresholds(importance, head.weight, config.weight_percentile),
        )
        if config.smoothing:
            self.prototypes_ = means.float()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        clipped = clip_above(batch.features, self.learned("clip_"))
        logits = self._pruned_logits(clipped)
        if self.config.smoothing:
            prototypes = self.learned("prototypes_")[logits.argmax(dim=1)]
            logits = logits * prototype_cosine(clipped, prototypes)[:, None]
        return score_logits(logits, self.config.scorer, self.config.temperature)

    def _pruned_logits(self, clipped: Features) -> Tensor:
        """Logits of each row from the neurons and weights of its predicted class, [N, C]."""
        weight, bias = self.learned("weight_"), self.learned("bias_")
        predictions = linear(clipped, weight, bias).argmax(dim=1)
        if is_written():
            return self._masked_logits(clipped, predictions)
        logits = clipped.new_empty((len(clipped), len(bias)))
        # The same memory for every class: fresh pages would take longer than what is written.
        kept, pruned = torch.empty_like(weight, dtype=torch.bool), torch.empty_like(weight)
        for class_number in torch.bincount(predictions).nonzero()[:, 0].tolist():
            importance = self.learned("importance_")[class_number]
            neurons = importance > self.learned("activation_thresholds_")[class_number]
            threshold = self.learned("weight_thresholds_")[class_number]
            torch.gt(weight, strict_bounds(importance.abs(), threshold), out=kept)
            torch.mul(weight, kept, out=pruned)
            rows = (predictions == class_number).nonzero()[:, 0]
            logits[rows] = linear(torch.where(neurons, clipped[rows], 0.0), pruned, bias)
        return logits

    def _masked_logits(self, clipped: Features, predictions: Tensor) -> Tensor:
        """The same with a mask for each row, since a graph cannot group rows by their class."""
        importance = self.learned("importance_")[predictions]
        neurons = importance > self.learned("activation_thresholds_")[predictions][:, None]
        weight, threshold = self.learned("weight_"), self.learned("weight_thresholds_")[predictions]
        kept = importance.abs()[:, None] * weight > threshold[:, None, None]
        products = torch.where(kept & neurons[:, None], weight, 0.0) * clipped[:, None]
        return products.sum(dim=2) + self.learned("bias_")

    def derived(self) -> dict[str, float]:
        """The clip, where there is one."""
        clip = float(self.learned("clip_"))
        return {"clip": clip} if math.isfinite(clip) else {}


Entry = LINe
