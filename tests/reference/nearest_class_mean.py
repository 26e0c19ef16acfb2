"""The distance to the nearest class mean one row at a time, in float64."""

import math

import numpy as np

from reference.scores import class_means, unit


def nearest_class_mean(feature, train, labels, num_classes, normalise):
    if normalise:
        feature, train = unit(feature), np.stack([unit(row) for row in train])
    means = class_means(train, labels, num_classes)
    present = sorted(set(labels.tolist()))
    return min(math.sqrt(sum((feature.astype(np.float64) - means[c]) ** 2)) for c in present)
