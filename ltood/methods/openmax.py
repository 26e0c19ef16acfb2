"""OpenMax: odds of an unknown class, from how far logits are from those of known classes.

Source: Bendale and Boult, "Towards Open Set Deep Networks", CVPR 2016 (arXiv:1511.06233),
algorithms 1 and 2. The ranks fall from 1 to 1/alpha, as in the authors' code. Departures:
distances are Euclidean, not a mixture with the cosine; the Weibull fits the distances
themselves, as in the paper, where the authors' library first moves them by an amount that
depends on the unit of the logits; the score is the log odds of the unknown class, which
rank as its probability does but do not round to 1; a tail is at most a share of its class.

Rare classes need the last: 20 distances are the tail of 1300 images, but all of a class of
20, whose typical images would then count as outside. Without a correctly classified
training row the mean is that of all rows of the class; with fewer than three different
distances shape and scale are the medians of the other classes'; without any row the logit
is never revised.

Formula:
    w_i = 1 - exp(-(|z - mu_c| / scale_c)^shape_c) for the class c of the i-th largest logit
    v_c = z_c (1 - (alpha - i + 1) / alpha * w_i) for the alpha largest logits, i from 1; else z_c
    score = sum_c (z_c - v_c) - logsumexp(v)
    mu_c mean logits of class c, Weibull fitted to its largest distances
"""

from dataclasses import dataclass
from typing import Annotated, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource, Scores
from ltood.core.crew import ALONE, Crew, Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Limits, Share
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.statistics import check_labels
from ltood.ops.weibull import MIN_VALUES, fit_weibull, weibull_cdf


@dataclass(frozen=True)
class Config(Settings):
    """Settings of OpenMax.

    Attributes:
        tail_size: Largest distances of each class that its Weibull is fitted to, 3 or
            more. The paper uses 20.
        tail_share: Largest share of the correctly classified rows of a class that counts
            as its tail, above 0, at most 1, but never less than 3 rows; 1 is published.
        alpha: Largest logits that are revised, 1 or more; where there are fewer classes,
            all are. The paper uses 10.
    """

    tail_size: Annotated[int, Limits(at_least=3, at_most=10**9)] = 20
    tail_share: Share = 0.1
    alpha: Count = 10


def mean_activations(source: FeatureSource, crew: Crew = ALONE) -> tuple[Tensor, Tensor]:
    """Mean logits of the correctly classified rows of each class.

    Args:
        source: Rows with logits and labels.
        crew: Processes that share the rows.

    Returns:
        Means, [C, C] float64, of all rows of the class where none is correct, and
        whether the class has any row, [C] bool.

    Raises:
        DataError: If a label is not a valid class or there are no rows.
    """
    seen = crew.summed(lambda: _activation_sums(source, crew))
    if seen is None:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    counts, sums = seen
    means = sums / counts.clamp(min=1)[:, :, None]
    return torch.where((counts[0] > 0)[:, None], means[0], means[1]), counts[1] > 0


def _activation_sums(source: FeatureSource, crew: Crew) -> Seen:
    """Counts [2, C] and sums [2, C, C] of correct and of all rows that this process reads."""
    num = source.num_classes
    counts = sums = None
    for batch in crew.batches(source, ("logits", "labels")):
        logits, labels = batch.logits.double(), batch.labels
        check_labels(labels, num)
        if counts is None or sums is None:
            # First the correctly classified rows, then all.
            counts, sums = labels.new_zeros((2, num)), logits.new_zeros((2, num, num))
        correct = logits.argmax(dim=1) == labels
        for i, rows in enumerate((correct, torch.ones_like(correct))):
            counts[i] += torch.bincount(labels[rows], minlength=num)
            sums[i].index_add_(0, labels[rows], logits[rows])
    return None if counts is None or sums is None else (counts, sums)


def distance_tails(
    source: FeatureSource,
    means: Tensor,
    tail_size: int,
    tail_share: float,
    crew: Crew = ALONE,
) -> Tensor:
    """Largest distances of correctly classified rows to their own mean.

    Args:
        source: Rows with logits and labels.
        means: Mean logits of each class, [C, C] float64.
        tail_size: Most distances to keep of each class.
        tail_share: Largest share of its rows to keep, but never less than `MIN_VALUES`.
        crew: Processes that share the rows.

    Returns:
        Distances in descending order, [C, tail_size] float64, padded with zeros.
    """
    counts, tails = means.new_zeros(len(means)), means.new_zeros((len(means), tail_size))
    for batch in crew.batches(source, ("logits", "labels")):
        logits = batch.logits.double()
        correct = logits.argmax(dim=1) == batch.labels
        labels = batch.labels[correct]
        distances = torch.linalg.vector_norm(logits[correct] - means[labels], dim=1)
        counts += torch.bincount(labels, minlength=len(means))
        tails = merged_tails(tails, labels, distances)
    seen = crew.joined(lambda: (counts[None], tails[None]))
    assert seen is not None
    counts = seen[0].sum(dim=0)
    # Each has kept the largest of its own rows.
    tails = torch.cat(list(seen[1]), dim=1).topk(tail_size, dim=1).values
    lengths = (tail_share * counts).floor().clamp(min=MIN_VALUES)
    ranks = torch.arange(tail_size, device=means.device)
    return torch.where(ranks < lengths[:, None], tails, 0.0)


def merged_tails(tails: Tensor, labels: Tensor, distances: Tensor) -> Tensor:
    """Largest distances of each class, of those kept so far and of more rows, [C, T].

    Args:
        tails: Those kept so far in descending order, [C, T].
        labels: Classes of the rows, [n] int64.
        distances: Their distances, [n].
    """
    # By class, the largest first: the second sort is stable and keeps the first one's order.
    order = distances.argsort(descending=True)
    order = order[labels[order].argsort(stable=True)]
    labels, distances = labels[order], distances[order]
    counts = torch.bincount(labels, minlength=len(tails))
    ranks = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels]
    size = tails.shape[1]
    kept = ranks < size
    more = tails.new_zeros((len(tails), min(size, int(counts.max()) if len(labels) else 0)))
    more[labels[kept], ranks[kept]] = distances[kept]
    return torch.cat([tails, more], dim=1).topk(size).values


class OpenMax(Method[Config]):
    """Scores rows by the log odds of an unknown class after revising their logits."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("logits",)
    classes_axis: tuple[str, int] = ("means_", 1)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the mean logits of each class and the Weibull of the distances to them.

        Raises:
            DataError: If there is no training row, or a label that is not a valid class.
        """
        source = inputs.require_train()
        config, crew = self.config, inputs.crew
        means, is_present = mean_activations(source, crew)
        tails = distance_tails(source, means, config.tail_size, config.tail_share, crew)
        shape, scale = fit_weibull(tails)
        is_fitted = scale.isfinite()
        if is_fitted.any():
            borrowed = is_present & ~is_fitted
            shape = torch.where(borrowed, shape[is_fitted].median(), shape)
            scale = torch.where(borrowed, scale[is_fitted].median(), scale)
        self.means_, self.shape_, self.scale_ = means, shape, scale
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        logits = batch.logits.double()
        distances = torch.cdist(logits, self.learned("means_"))
        outside = weibull_cdf(distances, self.learned("shape_"), self.learned("scale_"))
        alpha = min(self.config.alpha, logits.shape[1])
        top, classes = logits.topk(alpha, dim=1)
        ranks = torch.arange(alpha, 0, -1, dtype=logits.dtype, device=logits.device) / alpha
        taken = top * ranks * outside.gather(1, classes)
        known = logits.scatter(1, classes, top - taken).logsumexp(dim=1)
        return (taken.sum(dim=1) - known).float()


Entry = OpenMax
