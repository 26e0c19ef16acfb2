"""Mixture likelihood row by row and one round of EM in plain loops."""

import math

import numpy as np


def log_density(row, mean, covariance):
    gap = row - mean
    distance = gap @ np.linalg.solve(covariance, gap)
    log_determinant = np.linalg.slogdet(covariance)[1]
    return -0.5 * (distance + log_determinant + len(row) * math.log(2 * math.pi))


def gmm(features, weights, means, covariances):
    scores = []
    for row in features.astype(np.float64):
        density = 0.0
        for weight, mean, covariance in zip(weights, means, covariances, strict=True):
            density += weight * math.exp(log_density(row, mean, covariance))
        scores.append(-math.log(density))
    return np.array(scores)


def em(train, weights, means, covariances, covariance, ridge):
    """One round of EM; `ridge` is a share of the covariance of all rows, as in the method."""
    train = train.astype(np.float64)
    num_rows, dim = train.shape
    shares = np.zeros((num_rows, len(weights)))
    for i, row in enumerate(train):
        for j, (weight, mean, own) in enumerate(zip(weights, means, covariances, strict=True)):
            shares[i, j] = weight * math.exp(log_density(row, mean, own))
        shares[i] /= shares[i].sum()
    overall = np.cov(train.T, bias=True)
    if covariance == "diagonal":
        overall = np.diag(np.diag(overall))
    new_means, scatters = [], []
    for j in range(len(weights)):
        total = shares[:, j].sum()
        mean = sum(share * row for share, row in zip(shares[:, j], train, strict=True)) / total
        scatter = np.zeros((dim, dim))
        for share, row in zip(shares[:, j], train, strict=True):
            scatter += share * np.outer(row - mean, row - mean)
        new_means.append(mean)
        scatters.append(scatter)
    if covariance == "tied":
        new_covariances = [sum(scatters) / num_rows + ridge * overall] * len(weights)
    else:
        new_covariances = [
            np.diag(np.diag(scatter)) / shares[:, j].sum() + ridge * overall
            for j, scatter in enumerate(scatters)
        ]
    return shares.mean(axis=0), new_means, new_covariances
