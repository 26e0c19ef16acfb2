"""Residual norm row by row, from projections onto single eigenvectors."""

import math

import numpy as np


def origin(weight, bias):
    """Least-squares solution of W o = -b, with tiny singular values left out."""
    left, singular, right = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    found = np.zeros(weight.shape[1])
    for i, value in enumerate(singular):
        if value > 1e-4 * singular[0]:
            found -= right[i] * (left[:, i] @ bias.astype(np.float64)) / value
    return found


def directions(train, start):
    """Eigenvectors of the second moment about `start`, largest eigenvalue first."""
    moment = np.zeros((train.shape[1], train.shape[1]))
    for row in train.astype(np.float64):
        moment += np.outer(row - start, row - start) / len(train)
    values, vectors = np.linalg.eigh(moment)
    return [vectors[:, i] for i in np.argsort(-values)]


def residual(features, train, weight, bias, dim):
    start = origin(weight, bias)
    left_out = directions(train, start)[dim:]
    return np.array(
        [
            math.sqrt(sum(float((row - start) @ vector) ** 2 for vector in left_out))
            for row in features.astype(np.float64)
        ]
    )
