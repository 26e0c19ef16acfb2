"""KL matching one row at a time in plain loops."""

from math import log

from reference.scores import softmax


def mean_softmax(logits, groups, num_classes):
    means = []
    for c in range(num_classes):
        own = [
            softmax([float(z) for z in row])
            for row, g in zip(logits, groups, strict=True)
            if g == c
        ]
        if own:
            means.append([sum(column) / len(own) for column in zip(*own, strict=True)])
    return means


def kl_matching(logits, means):
    """Higher means more OOD."""
    p = softmax([float(z) for z in logits])
    return min(sum(a * log(a / b) for a, b in zip(p, mean, strict=True)) for mean in means)
