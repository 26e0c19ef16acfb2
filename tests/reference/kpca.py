"""Kernel PCA: mapped rows, their covariance row by row, components one by one, in float64."""

import math

import numpy as np

from reference.scores import unit


def fourier(row, frequencies, phases):
    width = len(phases)
    return np.array(
        [
            math.sqrt(2 / width) * math.cos(sum(v * u) + b)
            for v, b, u in zip(frequencies, phases, [unit(row)] * width, strict=True)
        ]
    )


def components(mapped, explained):
    """Mean of the mapped rows and the fewest eigenvectors that explain the share."""
    mean = sum(mapped) / len(mapped)
    covariance = sum(np.outer(phi - mean, phi - mean) for phi in mapped) / len(mapped)
    values, vectors = np.linalg.eigh(covariance)
    order = sorted(range(len(values)), key=lambda i: -values[i])
    kept, total = [], 0.0
    for i in order[:-1]:
        kept.append(vectors[:, i])
        total += values[i]
        if total >= explained * sum(values):
            break
    return mean, kept


def kpca(phi, mean, kept):
    rest = phi - mean
    for vector in kept:
        rest = rest - (rest @ vector) * vector
    return math.sqrt(sum(rest**2))
