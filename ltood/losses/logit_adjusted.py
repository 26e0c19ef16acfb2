"""Cross entropy on logits shifted by the class prior.

Source: Menon, Jayasumana, Rawat, Jain, Veit and Kumar, "Long-tail Learning via Logit
Adjustment", ICLR 2021 (arXiv:2007.07314), equation 10. The temperature divides the logits
before the shift, as PATT does; 1 gives the equation of the paper.
"""

from torch import Tensor
from torch.nn import functional


def logit_adjusted_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    log_prior: Tensor,
    tau: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Mean of -log softmax(logits / temperature + tau * log prior) at the labels.

    Args:
        logits: Class logits, [N, C].
        labels: Classes, [N] int64.
        log_prior: Natural logarithms of the class shares, [C].
        tau: Strength of the shift; 0 gives plain cross entropy.
        temperature: Divides the logits; unitless, above 0.

    Returns:
        Loss in nats, 0-d.
    """
    # Rare classes are handicapped here, so the unshifted logits must learn to favour them.
    return functional.cross_entropy(logits / temperature + tau * log_prior, labels)
