"""LTS one row at a time, in float64; slow on purpose."""

from . import scores
from .shaping import mass_ratio


def lts(feature, logits, percent, scorer="energy", temperature=1.0):
    factor = mass_ratio(feature, percent) ** 2
    return scores.score([float(z) * factor for z in logits], scorer, temperature)
