"""HIMPLoS: head-informed feature masking and prototype-based logit smoothing.

Source: Sun, Qiu, Tan, Zheng and Wang, "Classifier-head Informed Feature Masking and
Prototype-based Logit Smoothing for Out-of-Distribution Detection", arXiv:2310.18104
(2023). Each part can be switched off. As the authors' released code does, features are
also clipped after masking; the paper names that as one combination, so `clip: null`
gives masking and smoothing alone. Departure: the default clip is the 98th percentile of
the training activations, because a fixed one belongs to one network. The authors use
percentile 60 and clip 1.6 for DenseNet on CIFAR, 30 and 0.8 for ResNet-50 on ImageNet.

Formula:
    y = argmax z;  g_d = min(f_d where w_yd >= percentile of w_y, else 0; clip)
    score = S(cos(f, m_y) (W g + b))
    m_y mean training feature of class y
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.core.slots import ManyScores, Method
from ltood.ops.logits import Scorer, score_logits
from ltood.ops.shaping import (
    CLIP_PERCENTILE,
    Clip,
    clip_above,
    clip_ceiling,
    prototype_cosine,
)
from ltood.ops.statistics import (
    class_statistics,
    rows_sorted,
    sorted_percentile,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Config(Settings):
    """Settings of HIMPLoS.

    Attributes:
        percentile: Percent of the head weights of each class whose features are masked,
            0 to 100; higher masks more.
        clip: Largest activation to let through, above 0; "auto" is `clip_percentile` of
            the training activations, null no clip.
        clip_percentile: Percentile that "auto" stands for, 0 to 100.
        mask: Whether to mask features.
        smoothing: Whether to scale logits by the cosine to the class prototype.
        scorer: What scores the smoothed logits: energy, msp or maxlogit.
        temperature: Divides the smoothed logits. Unitless, above 0.
    """

    percentile: Percent = 60.0
    clip: Clip = "auto"
    clip_percentile: Percent = CLIP_PERCENTILE
    mask: bool = True
    smoothing: bool = True
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


def head_mask(weight: Tensor, thresholds: Tensor) -> Tensor:
    """Features that matter to each class: weights at or above the class's threshold.

    Weights are signed: a strongly negative weight is masked as well as one near zero.

    Args:
        weight: Head weights, [C, D].
        thresholds: A percentile of the weights of each class, [C]; the 0th keeps every feature,
            the 100th only the largest weight.

    Returns:
        Mask, [C, D] bool.
    """
    return weight >= thresholds[:, None]


def _groups(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Items with equal keys together, in the order of their first."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


class HIMPLoS(Method[Config]):
    """Scores rows by their masked, clipped and smoothed logits.

    A class without training rows has a zero prototype; rows predicted as that class get
    the cosine 0 and with it the score of equal logits.
    """

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")

    def _configure(self) -> None:
        """Take the settings; without smoothing and with a given clip no rows are needed."""
        self._has_warned = False
        if not self.config.smoothing and self.config.clip != "auto":
            self.needs = frozenset({Need.HEAD})

    def _fit(self, inputs: FitInputs) -> Self:
        """Build the mask from the head, prototypes and clip from the training rows."""
        head = inputs.require_head()
        ceiling = clip_ceiling(self.config.clip, self.config.clip_percentile, inputs)
        self.weight_, self.bias_ = head.weight, head.bias
        self.clip_ = torch.tensor(ceiling, dtype=torch.float32, device=head.weight.device)
        if self.config.mask:
            ordered = inputs.cached("himplos weights", lambda: rows_sorted(head.weight.float()))
            # Not the mask itself: a sweep holds thousands of settings, and this is a row of it.
            self.thresholds_ = sorted_percentile(ordered, self.config.percentile)
        if self.config.smoothing:
            self.prototypes_ = inputs.cached(
                "himplos prototypes", lambda: class_statistics(inputs).means.float()
            )
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD.

        Prediction, cosine and prototype use the raw feature; mask and clip only shape
        what goes into the head. The cosine scales the bias too.
        """
        return self.score_many([self], batch)[0]

    @classmethod
    def score_many(cls, detectors: Sequence[Self], batch: FeatureBatch) -> ManyScores:
        """Scores of many settings, [S, N]; each product with the head is made once.

        Settings with the same mask share the masked features, those with the same clip
        too share the logits; cosines are shared by all. Only one copy of each is held.
        """
        predictions = batch.logits.argmax(dim=1)
        scores = batch.features.new_empty((len(detectors), len(batch)))
        numbered = list(enumerate(detectors))
        for same_mask in _groups(numbered, lambda item: item[1]._percentile()):
            masked = same_mask[0][1]._masked(batch.features, predictions)
            for same_clip in _groups(same_mask, lambda item: float(item[1].learned("clip_"))):
                logits = same_clip[0][1]._logits(masked)
                for row, detector in same_clip:
                    smoothed = detector._smoothed(logits, batch, predictions)
                    config = detector.config
                    scores[row] = score_logits(smoothed, config.scorer, config.temperature)
        return scores

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """See `Entry.restore`; takes masks, too, which earlier versions saved."""
        learned = dict(state)
        if (mask := learned.pop("mask_", None)) is not None:
            # The least weight that is kept of each class gives the same mask.
            kept = learned["weight_"].masked_fill(~mask, math.inf)
            learned["thresholds_"] = kept.amin(dim=1)
        return super().restore(learned)

    def _percentile(self) -> float | None:
        return self.config.percentile if self.config.mask else None

    def _masked(self, features: Features, predictions: Tensor) -> Features:
        if not self.config.mask:
            return features
        mask = head_mask(self.learned("weight_"), self.learned("thresholds_"))
        return features * mask[predictions]

    def _logits(self, masked: Features) -> Tensor:
        clipped = clip_above(masked, self.learned("clip_"))
        return linear(clipped, self.learned("weight_"), self.learned("bias_"))

    def _smoothed(self, logits: Tensor, batch: FeatureBatch, predictions: Tensor) -> Tensor:
        if not self.config.smoothing:
            return logits
        prototypes = self.learned("prototypes_")
        cosine = batch.cached(
            ("himplos cosine", prototypes),
            lambda: prototype_cosine(batch.features, prototypes[predictions]),
        )
        self._warn_if_negative(cosine)
        return logits * cosine[:, None]

    def _warn_if_negative(self, cosine: Tensor) -> None:
        if not self._has_warned and bool((cosine < 0).any()):
            self._has_warned = True
            warnings.warn(
                "himplos met features with a negative cosine to the prototype of their predicted "
                "class, which flips the signs of their logits. The method presumes features "
                "after a ReLU; set methods.himplos.smoothing to false for this network.",
                stacklevel=2,
            )

    def derived(self) -> dict[str, float]:
        """The clip, where there is one."""
        clip = float(self.learned("clip_"))
        return {"clip": clip} if math.isfinite(clip) else {}


Entry = HIMPLoS
