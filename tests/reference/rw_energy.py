"""RW-Energy of one row in plain loops."""

from math import sqrt

from reference.rp_msp import tempered
from reference.scores import log_sum_exp, softmax


def rw_energy(logits, counts, tau=1.0):
    """Higher means more OOD."""
    logits = [float(z) for z in logits]
    probabilities, prior = softmax(logits), tempered(counts, tau)
    product = sum(p * q for p, q in zip(probabilities, prior, strict=True))
    lengths = sqrt(sum(p * p for p in probabilities)) * sqrt(sum(q * q for q in prior))
    return -log_sum_exp(logits) * (1 - product / lengths)
