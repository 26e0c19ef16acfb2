"""OptFS bin by bin and activation by activation, in float64."""

import numpy as np

from reference.caref import predicted
from reference.scores import head_logits, log_sum_exp, percentile


def factors(train, weight, bias, bins, tail, norm):
    values = train.astype(np.float64).flatten()
    low, high = percentile(values, 100 * tail), percentile(values, 100 * (1 - tail))
    width = (high - low) / bins
    contributions = []
    for k in range(bins):
        total = 0.0
        for row in train:
            own = weight[predicted(row, weight, bias)]
            for f, w in zip(row, own, strict=True):
                if low <= f < high and min(int((float(f) - low) / width), bins - 1) == k:
                    total += float(w) * float(f)
        contributions.append(total / len(train))
    length = np.sqrt(sum(value**2 for value in contributions))
    return low, high, [norm * value / length for value in contributions]


def optfs(row, weight, bias, learned, scorer="energy"):
    low, high, theta = learned
    width = (high - low) / len(theta)
    shaped = []
    for f in row:
        inside = low <= f < high
        k = min(int((float(f) - low) / width), len(theta) - 1) if inside else 0
        shaped.append(theta[k] * float(f) if inside else 0.0)
    if scorer == "logit":
        own = weight[predicted(row, weight, bias)]
        return -sum(float(w) * g for w, g in zip(own, shaped, strict=True))
    return -log_sum_exp(head_logits(shaped, weight, bias))
