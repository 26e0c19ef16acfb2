"""Losses that turn a detector's posterior into the one of a class-balanced training set.

With g the detector's ID logit on balanced classes, the imbalanced one is g minus log delta,
where delta = beta + (beta - 1) exp(g) and beta = mean over classes of gamma_y(x) P(y | x) / P(y).
The imbalanced logit meets the batch, so that g itself is balanced; gamma is learned with it.

Source: Liu et al., "Rethinking Out-of-Distribution Detection on Imbalanced Data Distribution",
NeurIPS 2024 (arXiv:2407.16430), equations 5 to 7, in the form of the authors' code, which made
the published numbers: beta is a mean and not a sum, ID rows take their smoothed label for the
posterior, gamma is held by a hinge on log(beta sigmoid(g)) and not on beta sigmoid(g) - 1, and
delta stays within 0.1 to 10. Departures: logarithms throughout, so that no g and no gamma can
overflow; exponents end at 30, which changes no clipped delta unless beta is within 1e-12 of 1.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Weight of the uniform distribution in the posterior of ID rows.
SMOOTHING = 0.2
#: Natural logarithms of the least and the largest gamma.
LOG_GAMMA_RANGE = (math.log(1e-4), 30.0)
_MAX_EXPONENT, _MAX_DELTA = 30.0, 10.0


def smoothed_labels(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Logarithm of the one-hot labels mixed with the uniform distribution, [N, C] of `dtype`.

    Args:
        labels: Classes, [N] int64.
        num_classes: Number of classes C.
        dtype: Of the result.
    """
    shares = functional.one_hot(labels, num_classes).to(dtype) * (1 - SMOOTHING)
    return (shares + SMOOTHING / num_classes).log()


def log_beta(raw_gamma: Tensor, log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    """Natural logarithm of the mean over classes of gamma times posterior over prior, [N].

    Args:
        raw_gamma: Natural logarithms of gamma before they are kept in range, [N, C].
        log_posterior: Natural logarithms of the class probabilities, [N, C].
        log_prior: Natural logarithms of the class shares, [C] or [N, C].
    """
    log_gamma = raw_gamma.clamp(*LOG_GAMMA_RANGE)
    ratios = log_gamma + log_posterior - log_prior
    return torch.logsumexp(ratios, dim=1) - math.log(ratios.shape[1])


def gamma_loss(log_betas: Tensor, nodes: Tensor) -> Tensor:
    """Mean hinge on the logarithm of beta sigmoid(g), a probability that exceeds 1 otherwise.

    Args:
        log_betas: Natural logarithms of beta, [N]; the gradient goes into them only.
        nodes: Balanced ID logits g, [N].

    Returns:
        Loss in nats, 0-d.
    """
    return functional.relu(log_betas + functional.logsigmoid(nodes.detach())).mean()


def log_delta(log_betas: Tensor, nodes: Tensor, *, is_id: bool) -> Tensor:
    """Difference of the balanced and the imbalanced logit, [N], without a gradient.

    Args:
        log_betas: Natural logarithms of beta, [N].
        nodes: Balanced ID logits g, [N].
        is_id: True for ID rows, whose logit is only lowered; that of outliers is only raised.

    Returns:
        Natural logarithms of delta, in [0, log 10] for ID rows and [-log 10, 0] for outliers.
    """
    beta = log_betas.detach().exp()
    odds = nodes.detach().clamp(max=_MAX_EXPONENT).exp()
    low, high = (1.0, _MAX_DELTA) if is_id else (1 / _MAX_DELTA, 1.0)
    return (beta + (beta - 1) * odds).clamp(low, high).log()


def balanced_discrimination_loss(
    id_nodes: Tensor, aux_nodes: Tensor, id_log_betas: Tensor, aux_log_betas: Tensor
) -> Tensor:
    """Binary cross entropy of the imbalanced logits, which leaves the nodes balanced.

    Args:
        id_nodes: Balanced ID logits g of ID rows, [N]; the gradient goes into the nodes only.
        aux_nodes: Those of outliers, [M]; N + M is at least 1.
        id_log_betas: Natural logarithms of beta of the ID rows, [N].
        aux_log_betas: Those of the outliers, [M].

    Returns:
        Mean over all rows in nats, 0-d.
    """
    id_logits = id_nodes - log_delta(id_log_betas, id_nodes, is_id=True)
    aux_logits = aux_nodes - log_delta(aux_log_betas, aux_nodes, is_id=False)
    return -functional.logsigmoid(torch.cat([id_logits, -aux_logits])).mean()
