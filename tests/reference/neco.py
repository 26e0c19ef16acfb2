"""NECO row by row, from projections onto single principal components."""

import math

import numpy as np


def neco(features, train, dim):
    train = train.astype(np.float64)
    columns = train.T
    means = [math.fsum(column) / len(column) for column in columns]
    scales = [
        math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column)) or 1.0
        for column, mean in zip(columns, means, strict=True)
    ]

    def standardised(row):
        return np.array([(v - m) / s for v, m, s in zip(row, means, scales, strict=True)])

    correlation = sum(np.outer(standardised(row), standardised(row)) for row in train)
    values, vectors = np.linalg.eigh(correlation)
    components = [vectors[:, i] for i in np.argsort(-values)[:dim]]
    scores = []
    for row in features.astype(np.float64):
        point = standardised(row)
        inside = math.sqrt(sum(float(point @ component) ** 2 for component in components))
        scores.append(-inside / math.sqrt(float(point @ point)))
    return np.array(scores)
