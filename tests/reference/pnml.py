"""Regret one row at a time, in float64: pseudo-inverse and the paper's quotient."""

import math

import numpy as np

from reference.scores import softmax, unit


def pnml(feature, logits, train):
    rows = np.stack([np.concatenate([[1.0], unit(row)]) for row in train])
    gram = rows.T @ rows
    inverse = np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
    query = np.concatenate([[1.0], unit(feature)])
    inside = query @ inverse @ query
    rest = query - inverse @ gram @ query
    freedom = min(max(rest @ query, inside / (1 + inside)), 1.0)
    genies = [p / (p + (1 - p) * p**freedom) for p in softmax([float(z) for z in logits])]
    return math.log(sum(genies))
