"""OOD scores that need logits only, and the choice among them for shaping methods.

Sources: max softmax by Hendrycks and Gimpel (ICLR 2017, arXiv:1610.02136), energy by
Liu et al. (NeurIPS 2020, arXiv:2010.03759), max logit by Hendrycks et al. (ICML 2022,
arXiv:1911.11132), generalised entropy by Liu, Lochman and Zach (CVPR 2023).
"""

from typing import Literal

import torch

from ltood.core.batches import Logits, Scores

#: How a method turns (shaped) logits into one number.
Scorer = Literal["energy", "msp", "maxlogit"]


def energy(logits: Logits, temperature: float = 1.0) -> Scores:
    """Free energy -T log sum exp(z / T) of each row, [N]; higher means more OOD."""
    return -temperature * torch.logsumexp(logits / temperature, dim=1)


def max_softmax(logits: Logits, temperature: float = 1.0) -> Scores:
    """Largest class probability of softmax(z / T), [N]; higher means more ID."""
    return torch.softmax(logits / temperature, dim=1).amax(dim=1)


def max_logit(logits: Logits) -> Scores:
    """Largest logit of each row, [N]; higher means more ID."""
    return logits.amax(dim=1)


def generalised_entropy(logits: Logits, gamma: float, k: int) -> Scores:
    """Sum of (p (1 - p))^gamma over the k largest probabilities of each row.

    Args:
        logits: Class logits, [N, C].
        gamma: Power, above 0.
        k: Number of probabilities; at most C are taken.

    Returns:
        Scores, [N], at least 0; higher means more OOD.
    """
    log_p = torch.log_softmax(logits, dim=1)
    largest, indices = log_p.max(dim=1, keepdim=True)
    others = log_p.scatter(1, indices, -torch.inf)
    # Only the largest p can be near 1, where 1 - p cancels: there it is summed instead.
    first = largest + torch.logsumexp(others, dim=1, keepdim=True)
    if k < logits.shape[1]:
        # One too few for all is left, so the -inf of the largest is never among them.
        others = others.topk(k - 1, dim=1, sorted=False).values
    rest = others + torch.log1p(-others.exp())
    entropy: Scores = (gamma * first).exp().sum(dim=1) + (gamma * rest).exp().sum(dim=1)
    return entropy


def score_logits(logits: Logits, scorer: Scorer = "energy", temperature: float = 1.0) -> Scores:
    """Turn logits into OOD scores.

    Args:
        logits: Class logits, [N, C].
        scorer: "energy", "msp" or "maxlogit".
        temperature: Divides the logits; without effect on "maxlogit".

    Returns:
        Scores, [N]; higher means more OOD.
    """
    if scorer == "energy":
        return energy(logits, temperature)
    # Both are confidences, which grow with ID-ness; ours must grow with OOD-ness.
    if scorer == "msp":
        return -max_softmax(logits, temperature)
    return -max_logit(logits)
