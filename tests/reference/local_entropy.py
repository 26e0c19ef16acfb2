"""Entropy of the patches that do not show the label, one patch at a time in float64."""

import math


def local_entropy(local_logits, labels, topk, weights=None):
    """Loss, with the weight of each image where given, and [N][P] whether a patch was chosen."""
    entropies, chosen = [], []
    weights = [1.0] * len(labels) if weights is None else weights
    for patches, label, weight in zip(local_logits, labels, weights, strict=True):
        row = []
        for logits in patches:
            better = [value for value in logits if value > logits[label]]
            row.append(len(better) >= topk)
            if row[-1]:
                peak = max(logits)
                powers = [math.exp(value - peak) for value in logits]
                shares = [power / sum(powers) for power in powers]
                entropies.append(-weight * sum(share * math.log(share + 1e-5) for share in shares))
        chosen.append(row)
    return (-sum(entropies) / len(entropies) if entropies else 0.0), chosen
