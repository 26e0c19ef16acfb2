"""SCALE one row at a time, in float64; slow on purpose."""

import math

from . import scores
from .shaping import mass_ratio


def scale(feature, weight, bias, percent, scorer="energy", temperature=1.0):
    factor = math.exp(min(mass_ratio(feature, percent), 50.0))
    logits = scores.head_logits([float(f) * factor for f in feature], weight, bias)
    return scores.score(logits, scorer, temperature)
