"""The mean relation to the training rows, one edge at a time, in float64."""

from reference.scores import softmax, unit


def relation(feature, logits, bank, bank_logits, power, threshold):
    query, own = unit(feature), softmax([float(z) for z in logits])
    total = 0.0
    for row, row_logits in zip(bank, bank_logits, strict=True):
        other = softmax([float(z) for z in row_logits])
        agreement = sum(p * q for p, q in zip(own, other, strict=True))
        edge = max(float(unit(row) @ query), 0.0) * agreement
        total += edge**power if edge > threshold else 0.0
    return -total / len(bank)
