"""Entropy of the patches of ID images that do not show the image's class.

Source: Miyai, Yu, Irie and Aizawa, "LoCoOp: Few-Shot Out-of-Distribution Detection via Prompt
Learning", NeurIPS 2023 (arXiv:2306.01293), section 3.2. The official code adds 1e-5 inside the
logarithm and averages over all patches of a batch, which is kept.

Departures: the rank of the label counts the classes with a strictly greater logit, so that ties
have one answer everywhere; a batch without such a patch gives 0 as part of the graph, where the
official code gives an integer.
"""

import torch
from torch import Tensor

from ltood.core.errors import ConfigError

#: Inside the logarithm of the official code.
_EPSILON = 1e-5


def irrelevant_patches(local_logits: Tensor, labels: Tensor, *, topk: int) -> Tensor:
    """Patches whose `topk` best classes do not include the image's label.

    Args:
        local_logits: Class logits of P patches of each image, [N, P, C].
        labels: Classes of the images, [N] int64.
        topk: K, at least 1; from K = C on no patch is irrelevant.

    Returns:
        Whether at least K classes have a greater logit than the label, [N, P] bool.

    Raises:
        ConfigError: If `topk` is below 1.
    """
    if topk < 1:
        raise ConfigError(
            f"topk is {topk}; a patch has at least one best class, so set it to 1 or more "
            "(the paper uses 200 of 1,000 classes)."
        )
    own = labels[:, None, None].expand(-1, local_logits.shape[1], 1)
    return (local_logits > local_logits.gather(2, own)).sum(dim=2) >= topk


def local_entropy_loss(
    local_logits: Tensor, labels: Tensor, *, topk: int, weights: Tensor | None = None
) -> Tensor:
    """Minus the mean entropy of the patches that `irrelevant_patches` finds.

    Lower where those patches look more like no class. The choice of patches has no gradient.

    Args:
        local_logits: Class logits of P patches of each image, [N, P, C], scaled as in training.
        labels: Classes of the images, [N] int64.
        topk: K, at least 1.
        weights: Weight of each image's patches in the mean, [N]; None weighs all alike.

    Returns:
        Loss in nats, 0-d, 0 or less; exactly 0 where no patch is found.

    Raises:
        ConfigError: If `topk` is below 1.
    """
    irrelevant = irrelevant_patches(local_logits.detach(), labels, topk=topk)
    if local_logits.is_cuda:
        return masked_mean(local_logits, irrelevant, weights)
    chosen = local_logits[irrelevant]
    if len(chosen) == 0:
        return chosen.sum()
    terms = _minus_entropy(chosen)
    if weights is not None:
        terms = terms * weights[:, None].expand_as(irrelevant)[irrelevant]
    return terms.mean()


def masked_mean(local_logits: Tensor, irrelevant: Tensor, weights: Tensor | None) -> Tensor:
    """The loss by way of all patches, for which the host need not wait for a GPU to count them.

    Args:
        local_logits: As `local_entropy_loss` takes them, [N, P, C].
        irrelevant: The patches that count, [N, P] bool.
        weights: As `local_entropy_loss` takes them, [N] or None.
    """
    terms = _minus_entropy(local_logits)
    if weights is not None:
        terms = terms * weights[:, None]
    return terms.masked_fill(~irrelevant, 0).sum() / irrelevant.sum().clamp(min=1)


def _minus_entropy(logits: Tensor) -> Tensor:
    shares = torch.softmax(logits, dim=-1)
    return (shares * (shares + _EPSILON).log()).sum(dim=-1)
