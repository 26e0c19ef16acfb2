"""COOkeD: the mean of the class probabilities of several classifiers of the same rows.

Source: Humblot-Renaux, Franchi, Escalera and Moeslund, "COOkeD: Ensemble-based OOD detection in
the era of zero-shot CLIP", ICCV workshops 2025 (arXiv:2507.22576), code
https://github.com/glhr/COOkeD. Its three classifiers are a network that was trained on the classes,
a linear probe on CLIP's features and CLIP's text; its code reports the entropy and computes the
maximum softmax probability as well.

Each classifier is a feature store with a head: the present one, and those in `others`, whose rows
are joined by ids. Logits of a head of text are cosines, which are multiplied by `clip_scale`; the
probe reads the features that its head was learned from (recipe linear_probe). Departure: with
score: msp the logarithm is taken, which ranks alike and tells sure rows apart. The predicted class,
and so the accuracy, stays that of the present store, where COOkeD takes that of the mean. Without
others this is the entropy, or msp, of the present store alone.

Formula:
    p = 1/S sum_s softmax(z_s), z_s = clip_scale * cos(x_s, text) for a head of text
    score = -sum_c p_c log p_c for entropy, -log max_c p_c for msp
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.beside import beside, rows_beside
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Positive
from ltood.core.other_stores import OtherStore
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.cosines import class_directions, cosines
from ltood.ops.fusion import mean_log_probabilities, mean_softmax
from ltood.ops.held_methods import inputs_beside

#: It says little without settings of its own, so that `compare.methods: all` leaves it out.
NAMED_ONLY = True
#: Settings that list other feature stores; read without importing this file.
STORES = ("others",)
#: What a classifier is read from.
_READ = ("features", "logits")
#: Training rows that tell two stores with one head apart.
_LOOK = 64


@dataclass(frozen=True)
class Config(Settings):
    """Settings of COOkeD.

    Attributes:
        others: Further classifiers of the same rows: each the path of a feature store, or a mapping
            with store and head, the folder of a head that the adapt stage made.
        score: "entropy" of the mean probabilities, or "msp", their largest.
        clip_scale: Multiplies the cosines of heads of text; 100 is published, null takes the scale
            that each head brings along.
    """

    others: tuple[OtherStore, ...] = ()
    score: Literal["entropy", "msp"] = "entropy"
    clip_scale: Positive | None = 100.0

    def check(self) -> None:
        """Refuse a classifier that counts twice."""
        known = [other.reference for other in self.others]
        for name in known:
            if known.count(name) > 1:
                raise self.fault(
                    "others", f"names {name} twice; leave one out, or give it another head."
                )


class Cooked(Method[Config]):
    """Scores rows by how unsure several classifiers are together."""

    needs: frozenset[Need] = frozenset({Need.HEAD})

    weight_: Tensor
    scales_: Tensor

    def _configure(self) -> None:
        """Read features and logits of all stores."""
        self._places = [other.reference for other in self.config.others]
        self.arrays = (*_READ, *(beside(name, place) for place in self._places for name in _READ))

    def _fit(self, inputs: FitInputs) -> Self:
        """Find out which heads are made of text.

        Raises:
            ConfigError: If another store holds what the present one does.
            MissingNeedError: If there are other stores, and features in memory.
            StoreError: If a store has other classes, or another order of them.
        """
        # Kept for its widths, by which rows of another network are refused.
        self.weight_ = inputs.require_head().weight
        every = [inputs, *(inputs_beside(inputs, place) for place in self._places)]
        for place, other in zip(self._places, every[1:], strict=True):
            if _same(inputs, other):
                raise self.config.fault(
                    "others",
                    f"names {place}, whose features and head are those of the store that is "
                    "scored; leave it out, it would count twice.",
                )
        scales = [self._scale(found) for found in every]
        self.scales_ = torch.tensor(scales, device=self.weight_.device)
        for number, found in enumerate(every):
            if scales[number]:
                setattr(self, _directions(number), class_directions(found))
        return self

    def _scale(self, inputs: FitInputs) -> float:
        """What the cosines of a store are multiplied by; 0 where its head is not one of text."""
        if inputs.head is None or inputs.head.logit_scale is None:
            return 0.0
        chosen = self.config.clip_scale
        return float(inputs.head.logit_scale) if chosen is None else chosen

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 from 0 to log C; higher means more OOD."""
        rows = [batch, *(rows_beside(batch, place) for place in self._places)]
        scales = self.learned("scales_").tolist()
        logits = [self._logits(number, rows[number], scale) for number, scale in enumerate(scales)]
        log_p = torch.stack(logits).double().log_softmax(dim=2)
        if self.config.score == "msp":
            return mean_softmax(log_p).float()
        mean = mean_log_probabilities(log_p)
        return -(mean.exp() * mean).sum(dim=1).clamp(max=0).float()

    def _logits(self, number: int, batch: FeatureBatch, scale: float) -> Tensor:
        """Logits of one classifier, [N, C]; of a head of text scaled cosines."""
        if not scale:
            return batch.logits
        return scale * cosines(batch.features, self.learned(_directions(number)))

    def derived(self) -> dict[str, float]:
        """Number of classifiers, and of those whose head is made of text."""
        if "scales_" not in vars(self):
            return {}
        return {
            "classifiers": float(len(self.scales_)),
            "text_heads": float((self.scales_ > 0).sum()),
        }


def _same(one: FitInputs, other: FitInputs) -> bool:
    """Whether the heads and the first training rows are equal."""
    head, its_head, train, its_train = one.head, other.head, one.train, other.train
    if head is None or its_head is None or train is None or its_train is None:
        return False
    if not (torch.equal(head.weight, its_head.weight) and torch.equal(head.bias, its_head.bias)):
        return False
    first = next(iter(train.batches(_LOOK, ("features",))))
    its_first = next(iter(its_train.batches(_LOOK, ("features",))))
    return torch.equal(first.features, its_first.features)


def _directions(number: int) -> str:
    """Name of the learned directions of a classifier."""
    return f"directions{number}_"


Entry = Cooked
