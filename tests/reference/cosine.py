"""The largest cosine to a class mean one row at a time, in float64."""

import numpy as np

from reference.scores import class_means, unit


def cosine(feature, train, labels, num_classes, centre):
    middle = sum(row.astype(np.float64) for row in train) / len(train) if centre else 0.0
    query = unit(feature.astype(np.float64) - middle)
    means = class_means(train, labels, num_classes)
    return -max(float(unit(means[c] - middle) @ query) for c in sorted(set(labels.tolist())))
