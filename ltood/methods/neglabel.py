"""NegLabel: share of a softmax that negative labels take from the class names.

Source: Jiang, Liu, Fang, Chen, Liu, Zheng and Han, "Negative Label Guided OOD Detection with
Pretrained Vision-Language Models", ICLR 2024 (arXiv:2403.20078; XueJiang16/NegLabel, Apache-2.0).
The head holds the text features of the classes and, as `negative_weight`, those of the negative
labels. With labels of CSP (Chen, Gao and Xu, "Conjugated Semantic Pool Improves OOD Detection
with Pre-trained Vision-Language Models", NeurIPS 2024) or NegRefine (ICCV 2025, its list of
labels without multi-matching) it is their score.

Departures: the permutation is drawn on the CPU, the official one on the device, which changes the
groups with it; one group means one softmax, where the official branch leaves the softmax out; all
groups count, where the official setting for fewer reads one less than it says; both kinds of text
features are float32, where the official negative ones are rounded to half precision; and the
exponentials cannot overflow. There are at most as many groups as labels.

Formula:
    score = mean over groups g of sum_{m in g} e_m / (sum_c e_c + sum_{m in g} e_m)
    e_t = exp(cos(f, t) / T),  t a class name or a negative label
"""

from dataclasses import dataclass
from typing import Self

import torch

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Positive, Seed
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.cosines import class_directions
from ltood.ops.negatives import grouped, negative_directions, negative_log_odds

#: Reads a part that few heads have; the pipeline checks that early, without importing this.
HEAD_PARTS = True


@dataclass(frozen=True)
class Config(Settings):
    """Settings of NegLabel.

    Attributes:
        groups: Groups of negative labels; as many as there are labels where these are fewer.
        temperature: Divides the cosines before the softmax. Unitless, above 0; 0.01 is CLIP's.
        seed: Of the permutation that deals the labels to the groups.
    """

    groups: Count = 100
    temperature: Positive = 0.01
    seed: Seed = 0


class NegLabel(Method[Config]):
    """Scores rows by the probability of the negative labels, averaged over groups of these."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.NEGATIVES})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes, and those of the negative labels in groups."""
        self.directions_ = class_directions(inputs)
        labels = negative_directions(inputs)
        self.negatives_ = grouped(labels, self.config.groups, self.config.seed)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [0, 1]; higher means more OOD."""
        odds = negative_log_odds(
            batch.features,
            self.learned("directions_"),
            self.learned("negatives_"),
            self.config.temperature,
        )
        # Of the share itself, not of one minus the share of the classes: small ones keep digits.
        return torch.sigmoid(odds).mean(dim=1)

    def derived(self) -> dict[str, float]:
        """Groups and labels in use."""
        groups, size, _ = self.learned("negatives_").shape
        return {"groups": float(groups), "labels": float(groups * size)}


Entry = NegLabel
