"""LINe one row at a time, in float64; slow on purpose."""

import math

from . import scores


def importance_of(weight, train, labels):
    """Mean over own rows of activation times gradient, one training row at a time."""
    importance = [[0.0] * len(weight[0]) for _ in weight]
    for row, label in zip(train, labels, strict=True):
        share = 1 / sum(other == label for other in labels)
        for d, value in enumerate(row):
            importance[label][d] += share * float(value) * float(weight[label][d])
    return importance


def largest(values):
    return max(range(len(values)), key=lambda c: values[c])


def line(feature, weight, bias, importance, percents, clip, scorer="energy", prototypes=None):
    clipped = [min(float(f), clip) for f in feature]
    own = importance[largest(scores.head_logits(clipped, weight, bias))]
    weight_percent, activation_percent = percents
    activation_threshold = scores.percentile(own, activation_percent)
    shaped = [f if i > activation_threshold else 0.0 for f, i in zip(clipped, own, strict=True)]
    contributions = [[abs(i) * float(w) for i, w in zip(own, row, strict=True)] for row in weight]
    threshold = scores.percentile([v for row in contributions for v in row], weight_percent)
    pruned = [
        [float(w) if v > threshold else 0.0 for w, v in zip(row, values, strict=True)]
        for row, values in zip(weight, contributions, strict=True)
    ]
    logits = scores.head_logits(shaped, pruned, bias)
    if prototypes is not None:
        prototype = prototypes[largest(logits)]
        norms = [math.sqrt(sum(float(v) ** 2 for v in x)) for x in (clipped, prototype)]
        dot = sum(f * float(p) for f, p in zip(clipped, prototype, strict=True))
        cosine = dot / (norms[0] * norms[1]) if all(norms) else 0.0
        logits = [cosine * z for z in logits]
    return scores.score(logits, scorer)
