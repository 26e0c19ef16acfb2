"""SHE one row at a time, in float64."""

import numpy as np

from reference.scores import head_logits


def predicted(feature, weight, bias):
    logits = head_logits(feature, weight, bias)
    return max(range(len(logits)), key=lambda c: logits[c])


def pattern(c, train, labels, weight, bias):
    rows = [row.astype(np.float64) for row in train]
    own = [row for row, label in zip(rows, labels, strict=True) if label == c]
    right = [row for row in own if predicted(row, weight, bias) == c]
    chosen = right or own or rows
    return sum(chosen) / len(chosen)


def she(feature, train, labels, weight, bias):
    stored = pattern(predicted(feature, weight, bias), train, labels, weight, bias)
    return -sum(float(x) * s for x, s in zip(feature, stored, strict=True))
