"""BATS one row at a time, in float64; slow on purpose."""

from . import scores


def bats(feature, weight, bias, means, deviations, lam, scorer="energy"):
    shaped = []
    for value, mean, deviation in zip(feature, means, deviations, strict=True):
        reach = lam * float(deviation)
        below = min(float(value), float(mean) + reach)
        shaped.append(max(below, float(mean) - reach))
    return scores.score(scores.head_logits(shaped, weight, bias), scorer)
