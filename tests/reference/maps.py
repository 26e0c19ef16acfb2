"""Methods on feature maps, one map at a time, in float64; slow on purpose."""

import numpy as np

from . import ash, scores


def rankfeat(places, weight, bias, scorer="energy"):
    matrix = np.asarray(places, np.float64)
    left, sizes, right = np.linalg.svd(matrix)
    rest = matrix - sizes[0] * np.outer(left[:, 0], right[0])
    return scores.score(scores.head_logits(_mean(rest), weight, bias), scorer)


def react_map(places, weight, bias, clip, scorer="energy"):
    clipped = [[min(float(value), clip) for value in place] for place in places]
    return scores.score(scores.head_logits(_mean(clipped), weight, bias), scorer)


def ash_map(places, weight, bias, variant, percent):
    """ASH of all activations in a row, whose head sees each place with its share of the mean."""
    flat = [float(value) for place in places for value in place]
    repeated = [[float(w) / len(places) for _ in places for w in row] for row in weight]
    return ash.ash(flat, repeated, bias, variant, percent)


def _mean(places):
    return [sum(float(place[d]) for place in places) / len(places) for d in range(len(places[0]))]
