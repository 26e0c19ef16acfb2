"""WeiPer+KLD one row and one bin at a time, in float64, for given noisy weights."""

import math

from reference.scores import head_logits, softmax


def histogram(values, low, high, bins):
    counts = [0] * bins
    for value in values:
        if low <= value <= high:
            counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    return [count / len(values) for count in counts]


def smoothed(density, size):
    before, last = (size - 1) // 2, len(density) - 1
    return [
        sum(density[min(max(i - before + j, 0), last)] for j in range(size)) / size
        for i in range(len(density))
    ]


def kullback_leibler(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def symmetric(usual, density, size, floor):
    p = [value + floor for value in usual]
    q = [value + floor for value in smoothed(density, size)]
    p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
    return kullback_leibler(p, q) + kullback_leibler(q, p)


def weiper_kld(rows, train, heads, bias, bins, sizes, factors):
    """`heads` holds one noisy weight [C, D] per repeat; scores of `rows`."""

    def logits(row):
        return [head_logits(row, weight, bias) for weight in heads]

    def values(row):
        return [[float(x) for x in row], [z for own in logits(row) for z in own]]

    usual, ranges = [], []
    for kind in (0, 1):
        every = [values(row)[kind] for row in train]
        low, high = min(map(min, every)), max(map(max, every))
        gap = (high - low) / len(train)
        ranges.append((low - gap, high + gap))
        found = [histogram(own, *ranges[kind], bins) for own in every]
        usual.append([sum(column) / len(train) for column in zip(*found, strict=True)])
    scores = []
    for row in rows:
        plain, perturbed = (
            symmetric(usual[k], histogram(values(row)[k], *ranges[k], bins), sizes[k], floor)
            for k, floor in ((0, 0.01), (1, 0.025))
        )
        confidence = sum(max(softmax(own)) for own in logits(row)) / len(heads)
        scores.append(plain + factors[0] * perturbed - factors[1] * confidence)
    return scores
