"""NNGuide one row at a time, in float64."""

from reference.scores import log_sum_exp, unit


def nnguide(feature, logits, bank, bank_logits, k):
    query = unit(feature)
    guided = [
        log_sum_exp([float(z) for z in own]) * float(unit(row) @ query)
        for row, own in zip(bank, bank_logits, strict=True)
    ]
    largest = sorted(guided, reverse=True)[:k]
    return -sum(largest) / k * log_sum_exp([float(z) for z in logits])
