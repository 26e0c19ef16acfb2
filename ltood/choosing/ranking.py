"""From AUROCs on made outliers to a choice: mean ranks, standard errors, one standard error.

Only ranks are used. The network has seen the classes that are held out, so that the AUROCs
themselves flatter every candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values = NDArray[np.float64]

#: Digits of an AUROC, a fraction, that decide a rank; what differs less is a tie.
DIGITS = 3


@dataclass(frozen=True)
class Standing:
    """Where each candidate stands.

    Attributes:
        mean_rank: Mean rank over draws and kinds of outliers, [M]; 1 is best.
        error: Its standard error over the draws, [M]; NaN of one draw alone is written as 0.
        best: Candidate with the lowest mean rank.
        chosen: The cheapest candidate within one standard error of the best.
    """

    mean_rank: Values
    error: Values
    best: int
    chosen: int


def ranks(aurocs: Values) -> Values:
    """Rank of each candidate within each draw and kind, [R, K, M]; 1 is best, ties share.

    Args:
        aurocs: AUROC of each draw, kind of outliers and candidate, [R, K, M], as fractions; NaN
            of all candidates, which have no rank, where a draw has no rows of a kind.
    """
    found: Values = rankdata(-np.round(aurocs, DIGITS), axis=-1, method="average")
    return found


def standing(aurocs: Values, weights: Sequence[float], costs: Sequence[int]) -> Standing:
    """Mean ranks, their errors, and the choice by the rule of one standard error.

    The candidate with the lowest mean rank is the best; chosen is the cheapest one whose mean
    rank lies within one standard error of that. Of equally cheap ones the better is chosen, and
    of equally good ones the first.

    Args:
        aurocs: AUROC of each draw, kind and candidate, [R, K, M]; see `ranks`.
        weights: Weight of each kind of outliers, [K], above 0.
        costs: Cost class of each candidate, [M].
    """
    by_draw = _mean_over_kinds(ranks(aurocs), weights)
    draws = len(by_draw)
    mean_rank = by_draw.mean(axis=0)
    spread = by_draw.std(axis=0, ddof=1) if draws > 1 else np.zeros_like(mean_rank)
    error = spread / np.sqrt(draws)
    best = int(np.argmin(mean_rank))
    within = np.flatnonzero(mean_rank <= mean_rank[best] + error[best])
    chosen = min(within.tolist(), key=lambda place: (costs[place], mean_rank[place], place))
    return Standing(mean_rank, error, best, chosen)


def _mean_over_kinds(found: Values, weights: Sequence[float]) -> Values:
    """Weighted mean rank in each draw over the kinds that it has, [R, M]."""
    is_there = ~np.isnan(found).any(axis=2, keepdims=True)
    shares = is_there * np.asarray(weights, dtype=np.float64)[None, :, None]
    mean: Values = (np.nan_to_num(found) * shares).sum(axis=1) / shares.sum(axis=1)
    return mean
