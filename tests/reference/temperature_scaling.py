"""Temperature scaling in plain loops, the temperature by golden-section search."""

from math import exp, log, sqrt

from reference.scores import log_sum_exp, softmax


def log_loss(logits, labels, temperature):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        scaled = [float(z) / temperature for z in row]
        total += log_sum_exp(scaled) - scaled[label]
    return total / len(labels)


def best_temperature(logits, labels, low=0.01, high=100.0):
    low, high, share = log(low), log(high), (sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - share * (high - low), low + share * (high - low)
        if log_loss(logits, labels, exp(left)) < log_loss(logits, labels, exp(right)):
            high = right
        else:
            low = left
    return exp((low + high) / 2)


def score(row, temperature):
    """Log odds against the predicted class; higher means more OOD."""
    probabilities = sorted(softmax([float(z) / temperature for z in row]))
    return log(sum(probabilities[:-1]) / probabilities[-1])
