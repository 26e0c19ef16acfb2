"""OpenMax one row at a time, in plain loops and with bisection for the Weibull."""

from math import exp, floor, log, sqrt
from statistics import median_low

from reference.scores import log_sum_exp


def distance(a, b):
    return sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def mean(rows):
    return [sum(float(v) for v in column) / len(rows) for column in zip(*rows, strict=True)]


def weibull(values):
    """Shape and scale, or None where two parameters cannot be fitted."""
    values = [value for value in values if value > 1e-12 * max(values)]
    if len(values) < 3 or max(values) == min(values):
        return None
    logs = [log(value / max(values)) for value in values]
    low, high = 1e-6, 1e6
    for _ in range(300):
        k = sqrt(low * high)
        powers = [exp(k * x) for x in logs]
        tilted = sum(p * x for p, x in zip(powers, logs, strict=True)) / sum(powers)
        if tilted - 1 / k < sum(logs) / len(logs):
            low = k
        else:
            high = k
    return k, max(values) * (sum(powers) / len(powers)) ** (1 / k)


def fit(logits, labels, num_classes, tail_size=20, tail_share=0.1):
    """Mean and Weibull of each class, None where there is none."""
    means, tails = [], []
    for c in range(num_classes):
        own = [row for row, label in zip(logits, labels, strict=True) if label == c]
        correct = [row for row in own if max(range(num_classes), key=lambda i: row[i]) == c]
        means.append(mean(correct or own) if own else None)
        distances = sorted((distance(row, means[c]) for row in correct), reverse=True)
        length = min(tail_size, max(3, floor(tail_share * len(correct))))
        tails.append(weibull(distances[:length]) if distances else None)
    fitted = [tail for tail in tails if tail]
    if fitted:
        spare = median_low(k for k, _ in fitted), median_low(scale for _, scale in fitted)
        tails = [tail or (spare if own else None) for tail, own in zip(tails, means, strict=True)]
    return means, tails


def openmax(row, means, tails, alpha=10):
    """Log odds of the unknown class; higher means more OOD."""
    row = [float(v) for v in row]
    alpha = min(alpha, len(row))
    revised, unknown = list(row), 0.0
    for i, c in enumerate(sorted(range(len(row)), key=lambda i: -row[i])[:alpha]):
        outside = 0.0
        if tails[c]:
            k, scale = tails[c]
            outside = 1 - exp(-((distance(row, means[c]) / scale) ** k))
        revised[c] = row[c] * (1 - (alpha - i) / alpha * outside)
        unknown += row[c] - revised[c]
    return unknown - log_sum_exp(revised)
