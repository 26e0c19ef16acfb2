"""KL matching: distance of the softmax to the typical softmax of some class.

Source: Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings",
ICML 2022 (arXiv:1911.11132), section 4. The score is the smallest over classes of
KL(softmax(z) || mean softmax of the class). Departures: the means come from the training
rows, where the paper takes a validation set and some later codes the test set; classes
without rows are left out.

Formula:
    p = softmax(z)
    score = min_k KL(p || mean softmax of the training rows of group k)
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource, Logits, Scores
from ltood.core.crew import ALONE, Crew, Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.statistics import check_labels


@dataclass(frozen=True)
class Config(Settings):
    """Settings of KL matching.

    Attributes:
        group_by: Rows of which a class mean is made: those predicted as the class, as
            published, or those of its label.
    """

    group_by: Literal["predicted", "label"] = "predicted"


def mean_softmax(source: FeatureSource, group_by: str, crew: Crew = ALONE) -> Tensor:
    """Mean softmax of each class that has rows, [K, C] float64 with K at most C.

    Args:
        source: Rows with logits, and with labels where they group.
        group_by: "predicted" or "label".
        crew: Processes that share the rows.

    Raises:
        DataError: If a label is not a valid class or there are no rows.
    """
    seen = crew.summed(lambda: _softmax_sums(source, group_by, crew))
    if seen is None:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    counts, sums = seen
    present = counts > 0
    return sums[present] / counts[present, None]


def _softmax_sums(source: FeatureSource, group_by: str, crew: Crew) -> Seen:
    """Rows of each class and the sums of their softmax, of what this process reads."""
    num = source.num_classes
    counts = sums = None
    arrays = ("logits", "labels") if group_by == "label" else ("logits",)
    for batch in crew.batches(source, arrays):
        logits = batch.logits.double()
        groups = logits.argmax(dim=1)
        if group_by == "label":
            groups = batch.labels
            check_labels(groups, num)
        if counts is None or sums is None:
            counts, sums = groups.new_zeros(num), logits.new_zeros((num, logits.shape[1]))
        counts += torch.bincount(groups, minlength=num)
        sums.index_add_(0, groups, torch.softmax(logits, dim=1))
    return None if counts is None or sums is None else (counts, sums)


def smallest_divergence(logits: Logits, log_means: Tensor) -> Scores:
    """Smallest KL(softmax(z) || mean) of each row, [N] float32 in nats; 0 or more.

    Args:
        logits: Class logits, [N, C].
        log_means: Logs of the mean distributions, [K, C] float64, finite.
    """
    # A row close to its mean is a small difference of large terms: hence float64.
    probabilities = torch.softmax(logits.double(), dim=1)
    negative_entropy = -torch.special.entr(probabilities).sum(dim=1)
    divergence: Scores = negative_entropy - (probabilities @ log_means.T).amax(dim=1)
    return divergence.clamp(min=0).float()


class KLMatching(Method[Config]):
    """Scores rows by the divergence of their softmax from the nearest class mean."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("logits",)
    classes_axis: tuple[str, int] = ("log_means_", 1)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the mean softmax of each class.

        Raises:
            DataError: If there is no training row, or a label that is not a valid class.
        """
        means = mean_softmax(inputs.require_train(), self.config.group_by, inputs.crew)
        # A mean can underflow to 0; its log must stay finite where the row's p is 0 too.
        self.log_means_ = means.clamp(min=torch.finfo(means.dtype).tiny).log()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in nats, at least 0; higher means more OOD."""
        return smallest_divergence(batch.logits, self.learned("log_means_"))


Entry = KLMatching
