"""Gram matrices, one by one in float64; slow on purpose."""

import numpy as np


def gram_sums(maps, orders):
    """Signed roots of the row sums of whole Gram matrices of one image, [P, W]; maps [W, S]."""
    found = []
    for order in orders:
        powers = maps.astype(np.float64) ** order
        sums = (powers @ powers.T).sum(axis=1)
        found.append(np.sign(sums) * np.abs(sums) ** (1 / order))
    return np.array(found)


def _softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _deviations(row, logits, ranges):
    probabilities = _softmax(logits.astype(np.float64))
    low, high = ranges[int(logits.argmax())]
    total = np.zeros(row.shape[0])
    for place, value in np.ndenumerate(row.astype(np.float64)):
        if value < low[place]:
            total[place[0]] += (low[place] - value) / max(abs(low[place]), 1e-6)
        if value > high[place]:
            total[place[0]] += (value - high[place]) / max(abs(high[place]), 1e-6)
    return total / probabilities.max()


def gram(tested, held_out, train):
    """Scores; each argument is a pair of row sums [N, L, P, W] and logits [N, C]."""
    sums, logits = train
    predicted, ranges = logits.argmax(axis=1), []
    for label in range(logits.shape[1]):
        own = sums[predicted == label] if (predicted == label).any() else sums
        ranges.append((own.min(axis=0).astype(np.float64), own.max(axis=0).astype(np.float64)))
    known = [_deviations(row, own, ranges) for row, own in zip(*held_out, strict=True)]
    unit = np.mean(known, axis=0) + 1e-7
    return np.array(
        [(_deviations(row, own, ranges) / unit).sum() for row, own in zip(*tested, strict=True)]
    )
