"""WDiscOOD by its text: symmetric root of the inverse, discriminants, projections, in float64."""

import math

import numpy as np

from reference.scores import class_means, unit


def wdiscood(rows, train, labels, num_classes, dim, weight, normalise=False):
    place = unit if normalise else (lambda row: row.astype(np.float64))
    rows, train = np.stack([place(r) for r in rows]), np.stack([place(r) for r in train])
    means = class_means(train, labels, num_classes)
    within = np.zeros((train.shape[1], train.shape[1]))
    for row, label in zip(train, labels, strict=True):
        within += np.outer(row - means[label], row - means[label]) / len(train)
    values, vectors = np.linalg.eigh(np.linalg.pinv(within, rcond=1e-12, hermitian=True))
    root = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    present = sorted(set(labels.tolist()))
    means, centre = means[present] @ root, train.mean(axis=0) @ root
    between = sum(np.outer(m - centre, m - centre) for m in means) / len(means)
    _, directions = np.linalg.eigh(between)
    own = directions[:, ::-1][:, :dim]
    outside = np.eye(len(root)) - own @ own.T
    scores = []
    for row in rows @ root:
        near = min(math.sqrt(sum(((row - mean) @ own) ** 2)) for mean in means)
        scores.append(near + weight * math.sqrt(sum((outside @ (row - centre)) ** 2)))
    return np.array(scores)
