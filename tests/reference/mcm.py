"""MCM and its local variants of one row in plain loops."""

from math import sqrt

from reference.scores import softmax


def cosine(a, b):
    lengths = sqrt(sum(float(x) ** 2 for x in a)) * sqrt(sum(float(y) ** 2 for y in b))
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / lengths


def mcm(feature, weight, temperature=1.0):
    """Higher means more OOD."""
    return -max(softmax([cosine(feature, text) / temperature for text in weight]))


def l_mcm(patches, weight, temperature=1.0):
    """Higher means more OOD."""
    return min(mcm(patch, weight, temperature) for patch in patches)


def gl_mcm(feature, patches, weight, temperature=1.0, w=1.0):
    """Higher means more OOD."""
    return mcm(feature, weight, temperature) + w * l_mcm(patches, weight, temperature)


def max_cosine(feature, weight):
    """Higher means more OOD."""
    return -max(cosine(feature, text) for text in weight)
