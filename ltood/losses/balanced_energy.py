"""Energy hinges that ask more of outliers which look like the classes outliers often look like.

Source: Choi, Jeong and Choi, "Balanced Energy Regularization Loss for Out-of-Distribution
Detection", CVPR 2023 (arXiv:2306.10485), with the released code. Departure: the weighted mean
over outliers is computed from logarithms, so that no outlier, however certain of a class that
outliers never take, can leave nothing to divide by.
"""

from torch import Tensor


def log_expected_share(logits: Tensor, log_shares: Tensor) -> Tensor:
    """Logarithm of sum_c shares_c softmax(logits)_c, [M]; the gradient flows through the softmax.

    Args:
        logits: Class logits, [M, C].
        log_shares: Natural logarithms of what outliers are taken for, [C]; minus infinity for
            never.
    """
    return (logits.log_softmax(dim=1) + log_shares).logsumexp(dim=1)


def balanced_energy_loss(
    id_logits: Tensor,
    aux_logits: Tensor,
    *,
    margin_in: float,
    margin_out: float,
    lift: Tensor,
    log_weights: Tensor,
) -> Tensor:
    """Mean of max(0, E - margin_in)^2 on ID rows plus a weighted mean of the outliers' hinges.

    An outlier costs max(0, margin_out + lift - E)^2, E = -log sum exp(logits).

    Args:
        id_logits: Class logits of ID rows, [N, C], N at least 1.
        aux_logits: Class logits of outliers, [M, C], M at least 1.
        margin_in: ID rows with a lower energy cost nothing; in the logits' unit.
        margin_out: What the energy of outliers is to reach beyond their lift.
        lift: Added to the margin of each outlier, [M], in the logits' unit.
        log_weights: Natural logarithms of the outliers' weights, up to a constant, [M].

    Returns:
        Loss in squared units of the logits, 0-d.
    """
    id_excess = (-id_logits.logsumexp(dim=1) - margin_in).relu()
    aux_deficit = (margin_out + lift + aux_logits.logsumexp(dim=1)).relu()
    weights = log_weights.softmax(dim=0)
    return id_excess.square().mean() + (weights * aux_deficit.square()).sum()
