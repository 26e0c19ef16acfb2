"""NCI one row at a time, in float64."""

import numpy as np

from reference.scores import head_logits, unit


def nci(feature, weight, bias, train, alpha):
    mean = sum(row.astype(np.float64) for row in train) / len(train)
    logits = head_logits(feature, weight, bias)
    predicted = max(range(len(logits)), key=lambda c: logits[c])
    direction = unit(feature.astype(np.float64) - mean)
    closeness = sum(float(w) * x for w, x in zip(weight[predicted], direction, strict=True))
    return -(closeness + alpha * sum(abs(float(x)) for x in feature))
