"""VRA one row at a time, in float64; slow on purpose."""

from . import scores


def vra(feature, weight, bias, floor, clip, gamma, scorer="energy"):
    shaped = []
    for value in map(float, feature):
        if value < floor:
            shaped.append(0.0)
        elif value > clip:
            shaped.append(clip)
        else:
            shaped.append(value + gamma)
    return scores.score(scores.head_logits(shaped, weight, bias), scorer)
