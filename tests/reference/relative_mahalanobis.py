"""Relative Mahalanobis distance row by row, with inverted covariances."""

import numpy as np

from reference.scores import class_means, unit


def _precision(covariance):
    return np.linalg.pinv(covariance, rcond=1e-12, hermitian=True)


def relative_mahalanobis(features, train, labels, num_classes, ridge=0.0, normalise=False):
    if normalise:
        features, train = (np.stack([unit(row) for row in part]) for part in (features, train))
    features, train = features.astype(np.float64), train.astype(np.float64)
    means, mean = class_means(train, labels, num_classes), train.mean(axis=0)
    within = ridge * np.eye(train.shape[1])
    overall = ridge * np.eye(train.shape[1])
    for row, label in zip(train, labels, strict=True):
        within += np.outer(row - means[label], row - means[label]) / len(train)
        overall += np.outer(row - mean, row - mean) / len(train)
    within, overall = _precision(within), _precision(overall)
    scores = []
    for row in features:
        nearest = min((row - means[c]) @ within @ (row - means[c]) for c in set(labels.tolist()))
        scores.append(nearest - (row - mean) @ overall @ (row - mean))
    return np.array(scores)
