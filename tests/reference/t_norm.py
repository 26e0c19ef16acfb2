"""Logits of a head with normalised weights, one row at a time, in float64."""

import math

from . import scores


def t_norm(feature, weight, tau, scorer="energy", temperature=1.0):
    logits = []
    for row in weight:
        norm = math.sqrt(sum(float(w) ** 2 for w in row))
        dot = sum(float(w) * float(f) for w, f in zip(row, feature, strict=True))
        logits.append(dot / norm**tau if norm else dot)
    return scores.score(logits, scorer, temperature)
