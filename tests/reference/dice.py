"""DICE one row at a time, in float64; slow on purpose."""

import math

from . import scores


def sparse_head(weight, train, percent):
    dim = len(weight[0])
    mean = [sum(float(row[d]) for row in train) / len(train) for d in range(dim)]
    contributions = [[float(row[d]) * mean[d] for d in range(dim)] for row in weight]
    threshold = scores.percentile([v for row in contributions for v in row], percent)
    return [
        [float(w) if v > threshold else 0.0 for w, v in zip(row, values, strict=True)]
        for row, values in zip(weight, contributions, strict=True)
    ]


def dice(feature, weight, bias, train, percent, scorer="energy", clip=math.inf):
    clipped = [min(float(f), clip) for f in feature]
    head = sparse_head(weight, train, percent)
    return scores.score(scores.head_logits(clipped, head, bias), scorer)
