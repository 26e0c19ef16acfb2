"""fDBD one row and one boundary at a time, in float64."""

import math

import numpy as np

from reference.scores import head_logits


def fdbd(feature, weight, bias, centre):
    logits = head_logits(feature, weight, bias)
    predicted = max(range(len(logits)), key=lambda c: logits[c])
    own = weight[predicted].astype(np.float64)
    distances = []
    for c in range(len(logits)):
        gap = math.sqrt(sum((own - weight[c]) ** 2))
        if gap > 0:
            distances.append(abs(logits[predicted] - logits[c]) / gap)
    spread = math.sqrt(sum((feature.astype(np.float64) - centre) ** 2))
    return -(sum(distances) / len(distances)) / spread if distances else 0.0
