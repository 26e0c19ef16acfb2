"""Outlier classes of one row in plain loops."""

import math

from reference.scores import head_logits


def outlier_class(feature, heads, num_outliers):
    """Mean over heads (weight, bias) of the softmax mass of the last `num_outliers` outputs."""
    total = 0.0
    for weight, bias in heads:
        logits = head_logits(feature, weight, bias)
        largest = max(logits)
        powers = [math.exp(value - largest) for value in logits]
        total += sum(powers[len(powers) - num_outliers :]) / sum(powers)
    return total / len(heads)
