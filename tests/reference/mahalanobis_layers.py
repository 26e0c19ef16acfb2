"""Mahalanobis distances of several layers, row by row in float64; slow on purpose."""

import math

import numpy as np

from . import scores


def mahalanobis_layers(tested, held_out, train, labels, num_classes, ridge=0.0, normalise=False):
    """Scores of rows, [N, L, W], after held-out rows and training rows of the same layers."""
    totals = np.zeros(len(tested))
    num_layers = train.shape[1]
    for layer in range(num_layers):
        width = max(i + 1 for i in range(train.shape[2]) if train[:, layer, i].any())
        three = [part[:, layer, :width].astype(np.float64) for part in (tested, held_out, train)]
        if normalise:
            three = [np.array([scores.unit(row) for row in part]) for part in three]
        own, known = (
            scores.mahalanobis(part, three[2], labels, num_classes, ridge) for part in three[:2]
        )
        mean = sum(known) / len(known)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
        totals += (own - mean) / deviation
    return totals / num_layers
