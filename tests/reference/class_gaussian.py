"""Class Gaussians row by row: full covariances, solved and with their determinants."""

import numpy as np

from reference.scores import class_means, unit


def class_gaussian(features, train, labels, num_classes, shrinkage="auto", normalise=False):
    """Needs a shared covariance of full rank."""
    if normalise:
        features, train = (np.stack([unit(row) for row in part]) for part in (features, train))
    features, train, dim = features.astype(np.float64), train.astype(np.float64), train.shape[1]
    means = class_means(train, labels, num_classes)
    scatters = np.zeros((num_classes, dim, dim))
    for row, label in zip(train, labels, strict=True):
        scatters[label] += np.outer(row - means[label], row - means[label])
    shared = scatters.sum(axis=0) / len(train)
    constant = np.linalg.slogdet(shared)[1]
    scores = []
    for row in features:
        candidates = []
        for c in sorted(set(labels.tolist())):
            count = int((labels == c).sum())
            share = dim / (dim + count) if shrinkage == "auto" else shrinkage
            covariance = (1 - share) * scatters[c] / count + share * shared
            distance = (row - means[c]) @ np.linalg.solve(covariance, row - means[c])
            candidates.append(distance + np.linalg.slogdet(covariance)[1] - constant)
        scores.append(min(candidates))
    return np.array(scores)
