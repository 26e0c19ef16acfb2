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


def edges(bins, kind):
    """Edges of the bins from 0 on, but for the last one."""
    if kind == "uniform":
        return [i / bins for i in range(bins)]
    half = bins // 2
    lower = [
        math.log(1 + i * (math.sqrt(1000) - 1) / half) / math.log(1000) for i in range(half + 1)
    ]
    return lower[:-1] + [1 - edge for edge in reversed(lower[1:])]


def bin_of(state, starts):
    return max(i for i, start in enumerate(starts) if start <= state)


def coverage(train, train_logits, weight, starts, alpha, o_star):
    counts = [[0] * len(starts) for _ in range(train.shape[1])]
    for row, logits in zip(train, train_logits, strict=True):
        for d, state in enumerate(states(row, logits, weight, alpha)):
            counts[d][bin_of(state, starts)] += 1
    return [[min(count / (o_star * len(train)), 1.0) for count in own] for own in counts]


def nac(feature, logits, weight, covered, starts, alpha):
    own = states(feature, logits, weight, alpha)
    cells = [covered[d][bin_of(state, starts)] for d, state in enumerate(own)]
    return -sum(cells) / len(cells)
