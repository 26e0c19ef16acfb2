"""AdaNeg: negative labels whose places move to the test images that look like them.

Source: Zhang and Zhang, "AdaNeg: Adaptive Negative Proxy Guided OOD Detection with Vision-Language
Models", NeurIPS 2024 (arXiv:2410.20149; YBZh/OpenOOD-VLM, MIT). A transductive method: every class
name and negative label has a memory of test images. An image that NegLabel finds surely ID enters
that of its likeliest class, one that it finds surely OOD that of its likeliest negative label; each
memory keeps those of the lowest entropy. A label stands where its text and its images lie together,
each weighted by its nearness to the image in question.

Departures: a row is scored before it may enter a memory (official_update_first); beta is 5.5 as
configured, where the code cuts it to 5 (official_beta), and all `slots` are filled, where the code
leaves the last one empty (official_slots); the permutation of labels is drawn on the CPU. Cosines
come from Gram matrices of the memories and are exact.

Formula:
    score = s(cos(f, p)) + lam s(cos(f, t)),  s that of NegLabel, t texts
    p_l(f) = sum over m of exp(-beta (1 - cos(f, m))) m,  m the text of l and its images
    into memory: s(cos(f, t)) < (1 - threshold)(1 - gap) as ID, > 1 - threshold (1 - gap) as OOD
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, NonNegative, Positive, Seed, Share
from ltood.core.streams import Memory, StreamMethod, StreamSettings
from ltood.ops.cosines import class_directions
from ltood.ops.label_memories import LabelMemories
from ltood.ops.lengths import unit
from ltood.ops.negatives import grouped, log_odds_by_group, negative_directions

#: Scores depend on the other test rows.
TRANSDUCTIVE = True
#: Only where it is named: it is not comparable with methods that see one row at a time.
NAMED_ONLY = True
#: Reads a part that few heads have; the pipeline checks that early, without importing this.
HEAD_PARTS = True
#: Columns of a batch that need no stream: NegLabel's score, the label whose memory the row may
#: enter, and its entropy there.
SCORE, LABEL, ENTROPY = "neglabel", "nearest_label", "entropy"


@dataclass(frozen=True)
class Config(StreamSettings):
    """Settings of AdaNeg; the defaults are the authors' on ImageNet.

    Attributes:
        groups: Groups of negative labels; as many as there are labels where these are fewer.
        temperature: Divides the cosines before the softmax. Unitless, above 0; 0.01 is CLIP's.
        seed: Of the permutation that deals the labels to the groups.
        slots: Images that a label remembers.
        beta: How fast the weight of an image falls with its distance, above 0.
        lam: Weight of NegLabel's own score, 0 or more.
        threshold: Share of a softmax that belongs to the classes, above which an image is ID.
        gap: Share of the way from the threshold to certainty that an image must pass to be
            remembered, above 0 and at most 1.
        official_beta: Cut beta to a whole number, as the authors' code does.
        official_slots: Never fill the last slot, as the authors' code does.
    """

    groups: Count = 5
    temperature: Positive = 0.01
    seed: Seed = 0
    slots: Count = 10
    beta: Positive = 5.5
    lam: NonNegative = 0.1
    threshold: Share = 0.5
    gap: Share = 0.5
    official_beta: bool = False
    official_slots: bool = False

    def check(self) -> None:
        """Refuse what the official switches leave nothing of."""
        if self.official_slots and self.slots < 2:
            raise self.fault("slots", "is 1, and official_slots leaves the last one empty; take 2.")


class AdaNeg(StreamMethod[Config]):
    """Scores rows by labels that are where their test images are."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.NEGATIVES})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)
    once: tuple[str, ...] = (SCORE, LABEL, ENTROPY)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes, and those of the negative labels in groups."""
        self.directions_ = class_directions(inputs)
        labels = negative_directions(inputs)
        self.negatives_ = grouped(labels, self.config.groups, self.config.seed)
        return self

    def texts(self) -> Tensor:
        """Unit vectors of the classes and then of the negative labels, [K, D]."""
        return torch.cat([self.learned("directions_"), self.learned("negatives_").flatten(0, 1)])

    def share(self, cosines: Tensor) -> Scores:
        """NegLabel's score of cosines with all labels, [N, K], as [N] float32 in [0, 1]."""
        known = len(self.learned("directions_"))
        groups, scaled = len(self.learned("negatives_")), cosines / self.config.temperature
        odds = log_odds_by_group(scaled[:, :known], scaled[:, known:], groups)
        return torch.sigmoid(odds).mean(dim=1)

    def _once(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """NegLabel's score, and the label and entropy with which a row may be remembered."""
        known = len(self.learned("directions_"))
        cosines = unit(batch.features) @ self.texts().T
        score = self.share(cosines)
        # Both rules of `Proxies.learn` lie on their own side of this.
        is_known = score < 1 - self.config.threshold
        parts = cosines[:, :known], cosines[:, known:]
        (known_label, unknown_label), (known_entropy, unknown_entropy) = (
            [part.argmax(dim=1) for part in parts],
            [_entropy(part / self.config.temperature) for part in parts],
        )
        return {
            SCORE: score,
            LABEL: torch.where(is_known, known_label, known + unknown_label),
            ENTROPY: torch.where(is_known, known_entropy, unknown_entropy),
        }

    def start(self) -> "Proxies":
        """Labels without images."""
        return Proxies(self)


class Proxies(Memory):
    """Labels with the images of a stream that they remember."""

    def __init__(self, method: AdaNeg) -> None:
        """Begin with the texts alone."""
        config = method.config
        beta = float(int(config.beta)) if config.official_beta else config.beta
        slots = config.slots - 1 if config.official_slots else config.slots
        self._method, self._config = method, config
        self._labels = LabelMemories(method.texts(), slots, beta)

    def rate(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [0, 1 + lam]; higher means more OOD."""
        adapted = self._method.share(self._labels.cosines(unit(batch.features)))
        return adapted + self._config.lam * batch.column(SCORE)

    def learn(self, batch: FeatureBatch) -> None:
        """Remember the images that NegLabel is sure of."""
        score, threshold, gap = batch.column(SCORE), self._config.threshold, self._config.gap
        # The authors compare 1 - score, which grows with ID-ness.
        sure = (score < (1 - threshold) * (1 - gap)) | (score > 1 - threshold * (1 - gap))
        if sure.any():
            rows = unit(batch.features)[sure]
            self._labels.add(rows, batch.column(LABEL)[sure], batch.column(ENTROPY)[sure])


def _entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax of each row, [N] float32."""
    logs = torch.log_softmax(logits, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


Entry = AdaNeg
