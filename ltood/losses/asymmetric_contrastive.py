"""Contrast among tail-class rows, with outliers on the other side only.

Source: Wang, Zhang, Zhu, Zheng, Chen, Smola and Wang, "Partial and Asymmetric Contrastive
Learning for Out-of-Distribution Detection in Long-Tailed Recognition", ICML 2022
(arXiv:2207.01160), section 3.2. Partial: the caller passes rows of tail classes only.
Asymmetric: outliers are negatives, never anchors, because they do not form a class.
Departure: no class weights, since the official ones are 1 for every tail class.
"""

import torch
from torch import Tensor
from torch.nn import functional


def asymmetric_contrastive_loss(
    anchors: Tensor, labels: Tensor, outliers: Tensor, *, temperature: float
) -> Tensor:
    """Mean over anchors of minus the mean log-softmax similarity to rows of their class.

    The softmax of an anchor runs over all other anchors and all outliers, and its positives are
    the other anchors of its class. Anchors without a positive do not count.

    Args:
        anchors: Projections of tail-class rows, all views, [A, P]; normalised here.
        labels: Their classes, [A] int64.
        outliers: Projections of outliers, [M, P]; normalised here.
        temperature: Divides the cosines; unitless, above 0.

    Returns:
        Loss in nats, 0-d; 0 where no anchor has a positive.
    """
    # Mixed precision would round the cosines before a temperature of 0.07 magnifies the error.
    with torch.autocast(anchors.device.type, enabled=False):
        dtype = torch.promote_types(anchors.dtype, torch.float32)
        rows = functional.normalize(anchors.to(dtype), dim=1)
        others = torch.cat([rows, functional.normalize(outliers.to(dtype), dim=1)])
        cosines = rows @ others.T
        itself = torch.eye(*cosines.shape, dtype=torch.bool, device=rows.device)
        # The lowest number rather than -inf keeps gradients finite for an anchor all alone.
        logits = (cosines / temperature).masked_fill(itself, torch.finfo(dtype).min)
        log_shares = logits.log_softmax(dim=1)[:, : len(rows)]
        positive = (labels[:, None] == labels) & ~itself[:, : len(rows)]
        num_positives = positive.sum(dim=1)
        sums = log_shares.where(positive, log_shares.new_zeros(())).sum(dim=1)
        means = sums / num_positives.clamp(min=1)
        return -means.sum() / (num_positives > 0).sum().clamp(min=1)
