"""NAC one row and one neuron at a time, in float64."""

import math

from reference.scores import softmax


def states(feature, logits, weight, alpha):
    probabilities = softmax([float(z) for z in logits])
    found = []
    for d, activation in enumerate(feature):
        gradient = sum(
            (p - 1 / len(probabilities)) * float(w[d])
            for p, w in zip(probabilities, weight, strict=True)
        )
        found.append(1 / (1 + math.exp(-alpha * float(activation) * gradient)))
    return found


def coverage(train, train_logits, weight, bins, alpha, o_star):
    counts = [[0] * bins for _ in range(train.shape[1])]
    for row, logits in zip(train, train_logits, strict=True):
        for d, state in enumerate(states(row, logits, weight, alpha)):
            counts[d][min(int(state * bins), bins - 1)] += 1
    return [[min(count / (o_star * len(train)), 1.0) for count in own] for own in counts]


def nac(feature, logits, weight, covered, bins, alpha):
    own = states(feature, logits, weight, alpha)
    cells = [covered[d][min(int(state * bins), bins - 1)] for d, state in enumerate(own)]
    return -sum(cells) / len(cells)
