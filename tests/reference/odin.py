"""ODIN's score of one moved image, in float64; slow on purpose."""

import math

from . import scores


def odin(feature, weight, bias, temperature):
    logits = [z / temperature for z in scores.head_logits(feature, weight, bias)]
    largest = math.exp(max(logits)) / sum(math.exp(z) for z in logits)
    return -temperature * math.log(len(logits) * largest)
