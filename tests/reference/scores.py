"""The papers' equations one row at a time, in float64 and plain loops; slow on purpose."""

import math

import numpy as np


def log_sum_exp(values):
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def softmax(values):
    total = log_sum_exp(values)
    return [math.exp(value - total) for value in values]


def head_logits(feature, weight, bias):
    return [
        float(bias[c]) + sum(float(w) * float(f) for w, f in zip(weight[c], feature, strict=True))
        for c in range(len(bias))
    ]


def score(logits, scorer="energy", temperature=1.0):
    """Higher means more OOD."""
    scaled = [float(z) / temperature for z in logits]
    if scorer == "energy":
        return -temperature * log_sum_exp(scaled)
    return -max(softmax(scaled)) if scorer == "msp" else -max(float(z) for z in logits)


def percentile(values, percent):
    ordered = sorted(float(value) for value in values)
    rank = percent / 100 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def class_means(features, labels, num_classes):
    means = np.zeros((num_classes, features.shape[1]))
    for c in range(num_classes):
        own = [
            row.astype(np.float64)
            for row, label in zip(features, labels, strict=True)
            if label == c
        ]
        if own:
            means[c] = sum(own) / len(own)
    return means


def react(feature, weight, bias, clip, scorer="energy"):
    return score(head_logits([min(float(f), clip) for f in feature], weight, bias), scorer)


def himplos(feature, weight, bias, prototypes, percent, clip, temperature=1.0):
    logits = head_logits(feature, weight, bias)
    predicted = max(range(len(logits)), key=lambda c: logits[c])
    threshold = percentile(weight[predicted], percent)
    shaped = [
        min(float(f) if w >= threshold else 0.0, clip)
        for f, w in zip(feature, weight[predicted], strict=True)
    ]
    prototype = prototypes[predicted]
    norms = [max(math.sqrt(sum(float(v) ** 2 for v in x)), 1e-8) for x in (feature, prototype)]
    dot = sum(float(a) * float(b) for a, b in zip(feature, prototype, strict=True))
    cosine = dot / (norms[0] * norms[1])
    return score([cosine * z for z in head_logits(shaped, weight, bias)], "energy", temperature)


def mahalanobis(features, train, labels, num_classes, ridge=0.0):
    """Textbook form: scatter around own means over N, inverted, quadratic form."""
    train, dim = train.astype(np.float64), train.shape[1]
    means = class_means(train, labels, num_classes)
    covariance = ridge * np.eye(dim)
    for row, label in zip(train, labels, strict=True):
        covariance += np.outer(row - means[label], row - means[label]) / len(train)
    precision = np.linalg.pinv(covariance, rcond=1e-12, hermitian=True)
    present = sorted(set(labels.tolist()))
    return np.array(
        [
            min((row - means[c]) @ precision @ (row - means[c]) for c in present)
            for row in features.astype(np.float64)
        ]
    )


def unit(row):
    norm = math.sqrt(sum(float(v) ** 2 for v in row))
    return np.array([float(v) / norm if norm else 0.0 for v in row])


def knn(feature, bank, k, normalise=True):
    place = unit if normalise else (lambda row: row.astype(np.float64))
    query = place(feature)
    return sorted(math.sqrt(sum((query - place(row)) ** 2)) for row in bank)[k - 1]


def patt_attention(train, labels, aux, weight, bias, prior, low=0.0, high=2.0):
    """Importance from class means with balanced classes, minus the mean over outliers."""
    num_classes, dim = weight.shape
    means = class_means(train, labels, num_classes)
    importance = np.zeros(dim)
    for c in range(num_classes):
        importance += weight[c] * means[c] / prior[c] / num_classes
    for row in aux:
        logits = head_logits(row, weight, bias)
        predicted = max(range(num_classes), key=lambda c: logits[c])
        importance -= weight[predicted] * row / prior[predicted] / len(aux)
    spread = importance.max() - importance.min()
    return low + (high - low) * (importance - importance.min()) / spread


def log_beta(logits, counts, tau=1.0, gamma=None):
    shares = [count**tau for count in counts]
    prior = [share / sum(shares) for share in shares]
    weights = gamma or [1 / len(prior)] * len(prior)
    ratios = zip(weights, softmax([float(z) for z in logits]), prior, strict=True)
    return math.log(sum(g * q / p for g, q, p in ratios))
