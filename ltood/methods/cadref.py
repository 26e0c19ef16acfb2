"""CADRef: CARef's error in two halves, one of which confident logits shrink.

Source: Ling, Chang, Zhao, Zhao, Chow and Deng, "CADRef: Robust Out-of-Distribution Detection via
Class-Aware Decoupled Relative Feature Leveraging", CVPR 2025 (arXiv:2503.00325); their code is
the repository LingAndZero/CADRef. Departures: the mean of a class that no training row is
predicted as, which is not a number there and common in long tails, is that of its labelled rows;
energy and largest logit, by which errors are divided and which may be negative, pass through a
softplus first, which leaves large ones as they are, unless `official_level`.

Formula:
    y = argmax z;  d = (f - m_y) sign(w_y)
    e+ = sum of max(d, 0) / |f|_1;  e- = sum of max(-d, 0) / |f|_1
    score = e+ / L(z) + e- / mean of L over the training rows
    L(z) = 1 / sum over the first k of (p_i (1 - p_i))^0.1 for gen, p = softmax(z) sorted,
           k = max(10, C / 10); softplus(logsumexp(z)) for energy,
           softplus(max z) for maxlogit; max p for msp
    m_y mean of the training features that are predicted as y
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ltood.core.batches import FeatureBatch, Logits, Scores
from ltood.core.crew import Seen
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.lengths import SMALLEST_LENGTH
from ltood.ops.logits import energy, generalised_entropy, max_logit, max_softmax
from ltood.ops.predicted import Means, class_means

#: Power of the generalised entropy, the paper's and GEN's own.
GAMMA = 0.1

#: Classes that the generalised entropy adds up at least, and their share where there are many.
FEWEST, ONE_OF = 10, 10

#: Entropies and levels below this count as this, so that what is divided by them is finite.
SMALLEST = 1e-30


@dataclass(frozen=True)
class Config(Settings):
    """Settings of CADRef.

    Attributes:
        logit: Level of confidence that errors are divided by: the inverse of GEN's entropy, the
            log-sum-exp ("energy"), the largest logit or the largest probability.
        means: Training rows that make the mean of a class: those "predicted" as it, as the
            paper has it, or those with its "label". A class without such rows takes the others,
            one without any the mean of all rows.
        official_level: Divide by energy and largest logit as they are. Where one is negative,
            an error turns into its opposite.
    """

    logit: Literal["gen", "energy", "maxlogit", "msp"] = "gen"
    means: Means = "predicted"
    official_level: bool = False


class CADRef(Method[Config]):
    """Scores rows by their relative error towards and away from the predicted class's weights.

    A feature that is all zero is divided by a tiny number, and so is far from every class.
    """

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("means_", 1)
    classes_axis: tuple[str, int] = ("means_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the class means, the signs of the weights and the mean level, in two passes."""
        self.signs_ = inputs.require_head().weight.sign()
        self.means_ = class_means(inputs, self.config.means)
        key = ("cadref level", self.config.logit, self.config.official_level)
        self.level_ = inputs.cached(key, lambda: self._mean_level(inputs))
        return self

    def _mean_level(self, inputs: FitInputs) -> Tensor:
        """Mean level of the training rows, 0-d float64."""
        source = inputs.require_train()

        def of_own() -> Seen:
            batches = inputs.crew.batches(source, ("logits",))
            levels = [self._level(batch.logits).sum() for batch in batches]
            return (torch.stack(levels).sum(),) if levels else None

        seen = inputs.crew.summed(of_own)
        assert seen is not None  # The class means have refused a split without rows.
        return seen[0] / len(source)

    def _level(self, logits: Logits) -> Tensor:
        return level(logits.double(), self.config.logit, signed=self.config.official_level)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0 without `official_level`; higher means more OOD."""
        features, predictions = batch.features, batch.logits.argmax(dim=1)
        gap = features - self.learned("means_")[predictions]
        gap *= self.learned("signs_")[predictions]
        size = features.abs().sum(dim=1, dtype=torch.float64).clamp(min=SMALLEST_LENGTH)
        along = gap.clamp(min=0).sum(dim=1, dtype=torch.float64) / size
        against = gap.clamp(max=0).neg_().sum(dim=1, dtype=torch.float64) / size
        scores = along / self._level(batch.logits) + against / self.learned("level_")
        return scores.float()

    def derived(self) -> dict[str, float]:
        """The mean level of the training rows."""
        return {"mean_level": float(self.learned("level_"))}


def level(logits: Logits, kind: str, *, signed: bool) -> Tensor:
    """How confident logits are, [N]; higher means more ID.

    Args:
        logits: Class logits, [N, C].
        kind: "gen", "energy", "maxlogit" or "msp".
        signed: Whether energy and largest logit may be negative; else they pass a softplus.
    """
    if kind == "gen":
        k = max(FEWEST, logits.shape[1] // ONE_OF)
        return 1 / generalised_entropy(logits, GAMMA, k).clamp(min=SMALLEST)
    if kind == "msp":
        return max_softmax(logits)
    found = -energy(logits) if kind == "energy" else max_logit(logits)
    return found if signed else softplus(found).clamp(min=SMALLEST)


Entry = CADRef
