"""OOD scores that need logits only, and the choice among them for shaping methods.

Sources: max softmax by Hendrycks and Gimpel (ICLR 2017, arXiv:1610.02136), energy by
Liu et al. (NeurIPS 2020, arXiv:2010.03759), max logit by Hendrycks et al. (ICML 2022,
arXiv:1911.11132).
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
