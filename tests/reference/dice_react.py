"""DICE with ReAct one row at a time, in float64; slow on purpose."""

from .dice import dice


def dice_react(feature, weight, bias, train, percent, clip, scorer="energy"):
    return dice(feature, weight, bias, train, percent, scorer, clip)
