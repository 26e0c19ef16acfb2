"""Conformal p-values, groups and the procedure of Benjamini and Hochberg, row by row."""

from math import ceil, exp, log

import numpy as np


def p_value(score, calibration, weights=None, test_weight=1.0):
    """With Python's numbers: (w + sum of w_i with s_i >= s) / (w + sum of w_i)."""
    weights = [1.0] * len(calibration) if weights is None else list(weights)
    at_least = sum(w for w, other in zip(weights, calibration, strict=True) if other >= score)
    return (test_weight + at_least) / (test_weight + sum(weights))


def two_sided(score, calibration):
    mirrored = [-other for other in calibration]
    return min(1.0, 2 * min(p_value(score, calibration), p_value(-score, mirrored)))


def log_p(score, calibration):
    """Log p-value, and an exponential tail of the mean excess beyond the largest score."""
    if not calibration:
        return 0.0
    return log(p_value(score, calibration)) - max(
        0.0, (score - max(calibration)) / mean_excess(calibration)
    )


def log_p_two_sided(score, calibration):
    mirrored = [-other for other in calibration]
    return min(0.0, log(2) + min(log_p(score, calibration), log_p(-score, mirrored)))


def mean_excess(calibration):
    ranked = sorted(calibration, reverse=True)
    tail = min(ceil(0.05 * len(ranked)), len(ranked) - 1)
    for rows in (tail, len(ranked) - 1):
        excess = [score - ranked[rows] for score in ranked[:rows]]
        if sum(excess) > 0:
            return sum(excess) / rows
    return 1.0


def merged(counts, minimum):
    """Lists of neighbouring groups with at least `minimum` rows each, as far as there are."""
    parts, part = [], []
    for group, _ in enumerate(counts):
        part.append(group)
        if sum(counts[member] for member in part) >= minimum:
            parts.append(part)
            part = []
    if part and parts:
        parts[-1] += part
    return parts or [part]


def benjamini_hochberg(p_values, fdr):
    """Which rows are flagged, by the step-up procedure."""
    order = np.argsort(p_values, kind="stable")
    last = -1
    for rank, row in enumerate(order, start=1):
        if p_values[row] <= fdr * rank / len(p_values):
            last = rank
    flagged = np.zeros(len(p_values), dtype=bool)
    if last > 0:
        flagged[np.asarray(p_values) <= p_values[order[last - 1]]] = True
    return flagged


def confidence_of_rank(rank, rows, alpha):
    """P(Binomial(rows, alpha) >= rank), by its sum: that of a Beta(rank, rows + 1 - rank)
    variable to be at most alpha."""
    from math import lgamma

    def term(hits):
        ways = lgamma(rows + 1) - lgamma(hits + 1) - lgamma(rows - hits + 1)
        return exp(ways + hits * log(alpha) + (rows - hits) * log(1 - alpha))

    return sum(term(hits) for hits in range(rank, rows + 1))
