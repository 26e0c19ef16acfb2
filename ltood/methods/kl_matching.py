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
from ltood.ops.graphs import is_written
from ltood.ops.statistics import check_labels

#: Rows that are scored at once: few enough for a processor's cache.
BLOCK_ROWS = 512

#: Products below this, of either sign, may be lost in float32.
SMALLEST = 1e-30


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
        groups = batch.logits.argmax(dim=1)
        if group_by == "label":
            groups = batch.labels
            check_labels(groups, num)
        if counts is None or sums is None:
            counts = groups.new_zeros(num)
            sums = batch.logits.new_zeros((num, batch.logits.shape[1]), dtype=torch.float64)
        counts += torch.bincount(groups, minlength=num)
        blocks = zip(
            torch.split(batch.logits, BLOCK_ROWS), torch.split(groups, BLOCK_ROWS), strict=True
        )
        for logits, own in blocks:
            sums.index_add_(0, own, torch.softmax(logits.double(), dim=1))
    return None if counts is None or sums is None else (counts, sums)


def smallest_divergence(logits: Logits, log_means: Tensor) -> Scores:
    """Smallest KL(softmax(z) || mean) of each row, [N] float32 in nats; 0 or more.

    Args:
        logits: Class logits, [N, C].
        log_means: Logs of the mean distributions, [K, C] float64, finite.
    """
    # A row close to its mean is a small difference of large terms: hence float64.
    blocks = torch.split(logits, BLOCK_ROWS)
    least = [_negative_entropy(p) - _largest_product(p, log_means) for p in map(_softmax, blocks)]
    divergence = torch.cat(least)
    return divergence.clamp(min=0).float()


def _softmax(logits: Logits) -> Tensor:
    return torch.softmax(logits.double(), dim=1)


def _negative_entropy(probabilities: Tensor) -> Tensor:
    """Sum of p log p of each row, [N]."""
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return -entropy


def _largest_product(probabilities: Tensor, log_means: Tensor) -> Tensor:
    """Largest inner product of each row with the rows of `log_means`, [N] float64.

    A product in float32, of half the work, shows which of the means may be largest: all terms
    have one sign, so that its relative error is at most one rounding for each of them. Where only
    one may be, its product is taken again in float64; else all are.
    """
    if probabilities.is_cuda or is_written():
        best: Tensor = (probabilities @ log_means.T).amax(dim=1)
        return best
    found = probabilities.float() @ log_means.float().T
    most, largest = found.max(dim=1)
    error = 2 * (log_means.shape[1] + 2) * torch.finfo(torch.float32).eps
    rivals = (found >= (most * (1 + 2 * error) - SMALLEST)[:, None]).sum(dim=1)
    exact = torch.einsum("nd,nd->n", probabilities, log_means[largest])
    several = rivals > 1
    if several.any():
        exact[several] = (probabilities[several] @ log_means.T).amax(dim=1)
    return exact


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
