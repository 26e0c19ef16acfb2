"""ASH from its three algorithms, one row at a time, in float64; slow on purpose."""

import math

from . import scores
from .shaping import kept, mass_ratio


def ash(feature, weight, bias, variant, percent, scorer="energy", minus=0.0):
    stay = kept(feature, percent)
    if variant == "b":
        number = sum(f != 0 for f in stay)
        total = sum(float(f) for f in feature)
        stay = [total / number if f else 0.0 for f in stay]
    if variant == "s":
        factor = math.exp(min(mass_ratio(feature, percent) - minus, 50.0))
        stay = [f * factor for f in stay]
    return scores.score(scores.head_logits(stay, weight, bias), scorer)
