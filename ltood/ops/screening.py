"""Leave out detectors that are blind to rows the network gets wrong, judged by ID rows alone.

A row that the network misclassifies is unlike those it has learned from, if less so than an OOD
row. A score that does not rank such rows above the others does not work on these features, be it
that its statistics rest on too few training rows or that it is inverted.
"""

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch

#: Fewest rows of either kind, wrong and right, for a judgement.
FEWEST_ROWS = 20


def error_aurocs(scores: Tensor, is_wrong: Tensor) -> Tensor:
    """Probability that a wrong row scores above a right one, [K] float64; ties count half.

    Args:
        scores: Scores, [K, n]; higher means more OOD.
        is_wrong: Whether the network misclassifies the row, [n] bool.

    Returns:
        NaN for all where there are fewer than `FEWEST_ROWS` wrong or right rows.
    """
    wrong = int(is_wrong.sum())
    right = len(is_wrong) - wrong
    if min(wrong, right) < FEWEST_ROWS:
        return torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    below = scores[:, ~is_wrong].sort(dim=1).values
    above = scores[:, is_wrong].contiguous()
    less = torch.searchsorted(below, above).double().sum(dim=1)
    least = torch.searchsorted(below, above, right=True).double().sum(dim=1)
    return (less + least) / (2.0 * wrong * right)


def kept(aurocs: Tensor, limit: float) -> Tensor:
    """Which detectors stay, [K] bool: those at or above the limit, or all where none is.

    Args:
        aurocs: What `error_aurocs` gives, [K].
        limit: Smallest value that stays.
    """
    good = aurocs >= limit
    return good if bool(good.any()) else torch.ones_like(good)


def wrong_rows(batch: FeatureBatch) -> Tensor:
    """1 where the largest logit is not that of the label, 0 where it is, -1 where none can tell.

    Args:
        batch: Rows; without labels or logits all are -1.

    Returns:
        [N] int64.
    """
    labels, logits = batch.arrays.get("labels"), batch.arrays.get("logits")
    if labels is None or logits is None:
        some = next(tensor for tensor in batch.arrays.values() if tensor is not None)
        return torch.full((len(batch),), -1, device=some.device)
    return torch.where(labels < 0, -1, (logits.argmax(dim=1) != labels).long())
