"""An ensemble of scores in plain loops, row by row."""

import math

from scipy.special import ndtri_exp


def p_value(score, calibration):
    """Share of the calibration rows and the row itself that score at least as high."""
    return (1 + sum(other >= score for other in calibration)) / (len(calibration) + 1)


def log_p(score, calibration):
    """Its logarithm, which falls further beyond the largest calibration score."""
    ordered = sorted(calibration)
    tail = min(math.ceil(0.05 * len(ordered)), len(ordered) - 1)
    excesses = [other - ordered[-tail - 1] for other in ordered[len(ordered) - tail :]]
    beyond = max(0.0, score - ordered[-1])
    return math.log(p_value(score, calibration)) - beyond / (sum(excesses) / tail)


def fuse(logs, rule, rows):
    """Fused statistic of one row; higher means more OOD."""
    logs = [min(one, math.log((rows + 0.5) / (rows + 1))) for one in logs]
    members, ordered = len(logs), sorted(logs)
    normal = sorted((-float(ndtri_exp(one)) for one in logs), reverse=True)
    if rule == "simes":
        return max(-(one + math.log(members / (rank + 1))) for rank, one in enumerate(ordered))
    if rule == "min_p":
        return -ordered[0]
    if rule == "fisher":
        return -2 * math.fsum(logs)
    if rule == "stouffer":
        return math.fsum(normal) / math.sqrt(members)
    if rule == "top_half":
        half = math.ceil(members / 2)
        return math.fsum(normal[:half]) / half
    mean = math.fsum(1 / math.tan(math.pi * math.exp(one)) for one in logs) / members
    return -math.log(math.atan2(1, mean) / math.pi)


def ensemble(scores, calibration, rule):
    """Statistics of new rows, [N], from scores [K][N] and calibration scores [K][n]."""
    rows = len(calibration[0])
    return [
        fuse([log_p(one, own) for one, own in zip(row, calibration, strict=True)], rule, rows)
        for row in zip(*scores, strict=True)
    ]
