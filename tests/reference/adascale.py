"""AdaSCALE one row at a time, in float64; slow on purpose."""

import math

from . import scores


def shift(feature, moved, largest, top, weight):
    """Statistic of one row: what its largest activations become, and how far they shift."""
    order = sorted(range(len(feature)), key=lambda place: -float(feature[place]))
    many = max(1, int(len(order) * largest / 100))
    few = max(1, int(len(order) * top / 100))
    kept = sum(max(float(moved[i]), 0.0) for i in order[:many])
    return kept + weight * sum(abs(float(feature[i]) - float(moved[i])) for i in order[:few])


def ratio(feature, percentile):
    positive = sorted((max(float(value), 0.0) for value in feature), reverse=True)
    count = max(1, len(positive) - round(len(positive) * percentile / 100))
    kept = sum(positive[:count])
    return sum(positive) / kept if kept else 1.0


def adascale(feature, own, held_out, weight, bias, kind, lowest, highest):
    """Score of one row with the shift `own`, after held-out rows with the shifts `held_out`."""
    larger = sum(other > own for other in held_out) / len(held_out)
    found = ratio(feature, lowest + larger * (highest - lowest))
    if kind == "l":
        logits = [found**2 * z for z in scores.head_logits(feature, weight, bias)]
    else:
        scale = math.exp(min(found, 50.0))
        logits = scores.head_logits([float(value) * scale for value in feature], weight, bias)
    return scores.score(logits, "energy", 1.0)
