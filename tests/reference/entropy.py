"""Entropy of one row in plain loops."""

from math import log

from reference.scores import softmax


def entropy(logits, temperature=1.0):
    """Higher means more OOD."""
    probabilities = softmax([float(z) / temperature for z in logits])
    return -sum(p * log(p) for p in probabilities if p > 0)
