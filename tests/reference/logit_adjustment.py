"""Post-hoc logit adjustment one row at a time, in float64; slow on purpose."""

import math


def adjusted(logits, counts, tau):
    total = sum(counts)
    return [
        float(z) - tau * math.log(count / total) for z, count in zip(logits, counts, strict=True)
    ]
