"""Shaping of one activation vector at a time, in float64 and plain loops; slow on purpose."""

from . import scores


def kept(feature, percent):
    threshold = scores.percentile(feature, percent)
    return [float(f) if f >= threshold else 0.0 for f in feature]


def mass_ratio(feature, percent):
    positive = [max(float(f), 0.0) for f in feature]
    largest = sum(kept(positive, percent))
    return sum(positive) / largest if largest else 1.0
