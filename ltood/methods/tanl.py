"""TANL: the negative labels that a stream activates, and a score that reads them in that order.

Source: Zhang, Varma, Gao, Delbrouck, Liu, Wang and Langlotz, "Activation Matters: Test-time
Activated Negative Labels for OOD Detection with Vision-Language Models", CVPR 2026
(arXiv:2603.25250; YBZh/OpenOOD-VLM, MIT). A transductive method: of a large pool of negative labels
those count that OOD-like test images activate most and ID-like ones least, activation being a
label's share in the softmax over all classes and the pool. Otsu's threshold on the scores so far
says which images are ID-like and OOD-like; two queues remember their activations.

Departures: a batch is scored with the labels that earlier batches have activated, where the code
mixes in the batch itself (official_update_first): with alpha = 0, as its script sets it, the batch
alone chooses the labels, so that a figure depends on batches being mixtures of ID with one OOD set.
The queue of OOD activations starts empty, because a cache holds no noise images; that of ID
activations starts with the class names, evenly thinned to its length.

Formula:
    score = mean over m = 1..labels of n_m / (k + n_m)
    k = sum_c exp(cos(f, t_c) / T),  n_m the same sum over the m most activated negative labels
"""

from dataclasses import dataclass
from typing import Annotated, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Limits, Positive, Share
from ltood.core.streams import Memory, StreamMethod, StreamSettings
from ltood.ops.cosines import class_directions, cosines
from ltood.ops.negatives import negative_directions
from ltood.ops.otsu import otsu_threshold

#: Scores depend on the other test rows.
TRANSDUCTIVE = True
#: Only where it is named: it is not comparable with methods that see one row at a time.
NAMED_ONLY = True
#: Reads a part that few heads have; the pipeline checks that early, without importing this.
HEAD_PARTS = True


@dataclass(frozen=True)
class Config(StreamSettings):
    """Settings of TANL; the defaults are the authors' on ImageNet.

    Attributes:
        labels: Negative labels of the pool that count; all where there are fewer.
        temperature: Divides the cosines before the softmax. Unitless, above 0; 0.01 is CLIP's.
        queue: Images whose activations each of the two queues keeps.
        scores: Scores on which Otsu's threshold is found.
        gap: Share of the way from the threshold to certainty that an image must pass to be
            remembered, above 0 and at most 1.
        alpha: With official_update_first, weight of the queues against the images of the batch;
            the authors' script takes 0.
    """

    labels: Count = 1000
    temperature: Positive = 0.01
    queue: Count = 300
    scores: Count = 20_000
    gap: Share = 0.5
    alpha: Annotated[float, Limits(at_least=0, at_most=1)] = 0.0


class TANL(StreamMethod[Config]):
    """Scores rows by the negative labels that the stream has activated."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.NEGATIVES})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes, and those of the pool of negative labels."""
        self.directions_ = class_directions(inputs)
        self.negatives_ = negative_directions(inputs)
        return self

    def start(self) -> "Activations":
        """Queues that know the class names alone."""
        return Activations(self.learned("directions_"), self.learned("negatives_"), self.config)


class Activations(Memory):
    """Activations of the pool by ID-like and OOD-like images of a stream."""

    def __init__(self, classes: Tensor, pool: Tensor, config: Config) -> None:
        """Begin with the class names as ID-like images."""
        self._classes, self._pool, self._config = classes, pool, config
        logits = self._logits_of(classes)
        kept = min(config.queue, len(classes))
        thinned = torch.arange(kept, device=classes.device) * len(classes) // kept
        self._id_like = _activation(*logits)[thinned]
        self._ood_like = self._id_like[:0]
        self._shares = self._share(*logits, self._gain())
        self._last = self._shares

    def rate(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [0, 1]; higher means more OOD."""
        if self._config.official_update_first:
            return self._last
        return self._share(*self._logits(batch), self._gain())

    def learn(self, batch: FeatureBatch) -> None:
        """Find the threshold anew, and remember the images that are far from it."""
        known, unknown = self._logits(batch)
        shares = self._share(known, unknown, self._gain())
        self._shares = torch.cat([self._shares, shares])[-self._config.scores :]
        # The authors compare one minus the share, which grows with ID-ness.
        confidence, gap = 1 - shares, self._config.gap
        threshold = otsu_threshold(1 - self._shares)
        activation = _activation(known, unknown)
        id_like = activation[confidence > threshold + gap * (1 - threshold)]
        ood_like = activation[confidence < threshold - gap * threshold]
        if self._config.official_update_first:
            mixed = self._mixed(self._ood_like, ood_like) - self._mixed(self._id_like, id_like)
            self._last = self._share(known, unknown, mixed)
        self._id_like = torch.cat([self._id_like, id_like])[-self._config.queue :]
        self._ood_like = torch.cat([self._ood_like, ood_like])[-self._config.queue :]

    def _logits(self, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
        return batch.cached(("logits of", self), lambda: self._logits_of(batch.features))

    def _logits_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the classes, [N, C], and of the pool, [N, M]."""
        temperature = self._config.temperature
        return cosines(rows, self._classes) / temperature, cosines(rows, self._pool) / temperature

    def _gain(self) -> Tensor:
        """How much more OOD-like images activate each label than ID-like ones, [M]."""
        return _mean(self._ood_like) - _mean(self._id_like)

    def _mixed(self, queue: Tensor, rows: Tensor) -> Tensor:
        """Mean activation of a queue and of rows of the batch, if any, [M]."""
        if not len(rows):
            return _mean(queue)
        return self._config.alpha * _mean(queue) + (1 - self._config.alpha) * _mean(rows)

    def _share(self, known: Tensor, unknown: Tensor, gain: Tensor) -> Tensor:
        """Scores by the labels of the largest gain, [N] float32."""
        chosen = torch.argsort(gain, descending=True, stable=True)[: self._config.labels]
        growing = torch.logcumsumexp(unknown[:, chosen], dim=1)
        return torch.sigmoid(growing - known.logsumexp(dim=1, keepdim=True)).mean(dim=1)


def _activation(known: Tensor, unknown: Tensor) -> Tensor:
    """Share of each label of the pool in the softmax over classes and pool, [N, M]."""
    return torch.softmax(torch.cat([known, unknown], dim=1), dim=1)[:, known.shape[1] :]


def _mean(rows: Tensor) -> Tensor:
    """Mean of rows, [M]; 0 where there are none."""
    return rows.sum(dim=0) / max(1, len(rows))


Entry = TANL
