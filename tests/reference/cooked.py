"""COOkeD of one row in plain loops, in float64."""

from math import log

from reference.mcm import cosine
from reference.scores import softmax


def text_logits(feature, texts, scale):
    """Scaled cosines of a row and the texts of the classes."""
    return [scale * cosine(feature, text) for text in texts]


def cooked(logits, score):
    """Higher means more OOD; `logits` of each classifier in turn."""
    shares = [softmax([float(value) for value in row]) for row in logits]
    mean = [sum(column) / len(shares) for column in zip(*shares, strict=True)]
    if score == "msp":
        return -log(max(mean))
    return -sum(p * log(p) for p in mean if p > 0)
