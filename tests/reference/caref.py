"""CARef and CADRef one row and one feature at a time, in float64."""

import numpy as np

from reference.gen import gen
from reference.scores import head_logits, log_sum_exp, softmax


def predicted(row, weight, bias):
    logits = head_logits(row, weight, bias)
    return max(range(len(logits)), key=lambda c: logits[c])


def means(train, labels, weight, bias, first="predicted"):
    """Mean of each class; one without predicted rows takes its labelled ones, then all."""
    guesses = [predicted(row, weight, bias) for row in train]
    kinds = (guesses, labels) if first == "predicted" else (labels, guesses)
    found = []
    for c in range(len(bias)):
        rows = [
            [row.astype(np.float64) for row, own in zip(train, kind, strict=True) if own == c]
            for kind in kinds
        ]
        chosen = rows[0] or rows[1] or [row.astype(np.float64) for row in train]
        found.append(sum(chosen) / len(chosen))
    return found


def caref(row, centres, weight, bias):
    mean = centres[predicted(row, weight, bias)]
    size = sum(abs(float(f)) for f in row)
    return sum(abs(float(f) - m) for f, m in zip(row, mean, strict=True)) / size


def level(logits, kind, official=False):
    if kind == "gen":
        return 1 / gen(logits, 0.1, max(10, len(logits) // 10))
    if kind == "msp":
        return max(softmax(logits))
    found = log_sum_exp(logits) if kind == "energy" else max(logits)
    return found if official else log_sum_exp([0.0, found])


def cadref(row, centres, weight, bias, kind, mean_level, official=False):
    c = predicted(row, weight, bias)
    size = sum(abs(float(f)) for f in row)
    along = against = 0.0
    for f, m, w in zip(row, centres[c], weight[c], strict=True):
        signed = (float(f) - m) * float(np.sign(w))
        along += max(signed, 0.0)
        against += max(-signed, 0.0)
    own = level(head_logits(row, weight, bias), kind, official)
    return along / size / own + against / size / mean_level
