"""Regret one row at a time, in float64: pseudo-inverse and the paper's quotient."""

import math

import numpy as np

from reference.scores import head_logits, softmax, unit


def pnml(feature, train, weight, bias):
    rows = np.stack([np.concatenate([[1.0], unit(row)]) for row in train])
    gram = rows.T @ rows
    inverse = np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
    query = np.concatenate([[1.0], unit(feature)])
    inside = query @ inverse @ query
    rest = query - inverse @ gram @ query
    freedom = min(max(rest @ query, inside / (1 + inside)), 1.0)
    probabilities = softmax(head_logits(query[1:], weight, bias))
    genies = [p / (p + (1 - p) * p**freedom) for p in probabilities]
    return math.log(sum(genies))
