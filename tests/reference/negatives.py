"""NegLabel and CLIPN of one row in plain loops."""

from math import exp

from reference.mcm import cosine
from reference.scores import softmax


def neglabel(feature, weight, groups, temperature=0.01):
    """Higher means more OOD; `groups` are lists of text features of negative labels."""
    known = [cosine(feature, text) / temperature for text in weight]
    shares = []
    for group in groups:
        unknown = [cosine(feature, text) / temperature for text in group]
        shares.append(sum(softmax(known + unknown)[len(known) :]))
    return sum(shares) / len(shares)


def clipn(feature, weight, no_weight, kind, temperature=0.01):
    """Higher means more OOD."""
    yes = [cosine(feature, text) / temperature for text in weight]
    no = [cosine(feature, text) / temperature for text in no_weight]
    denied = [1 / (1 + exp(y - n)) for y, n in zip(yes, no, strict=True)]
    if kind == "ctw":
        return denied[yes.index(max(yes))]
    return sum(d * p for d, p in zip(denied, softmax(yes), strict=True))
