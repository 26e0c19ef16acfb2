"""Statistics of the study of ensembles: ranks with cliques, bootstrap, exact intervals."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranks:
    """Friedman's test and Conover's comparisons after it.

    Attributes:
        mean: Mean rank of each detector, 1 is best, [K].
        p_value: Of the hypothesis that no detector differs.
        pairs: Holm-adjusted p-value of each pair, [K, K], 1 on the diagonal.
    """

    mean: Floats
    p_value: float
    pairs: Floats

    def clique(self, place: int, level: float = 0.05) -> NDArray[np.bool_]:
        """Detectors that do not differ from one, [K]."""
        return self.pairs[place] > level


def conover_holm(values: Floats) -> Ranks:
    """Rank detectors within each block, higher values first, and compare all pairs.

    Args:
        values: Result of each detector in each block, [B, K]; two of each at least.

    Source: Conover, "Practical Nonparametric Statistics", 3rd edition, Wiley 1999, section 5.8
    (Friedman's statistic with ties, and t-tests on rank sums); Holm, Scandinavian Journal of
    Statistics 1979.
    """
    blocks, detectors = values.shape
    ranks = stats.rankdata(-values, axis=1)
    sums = ranks.sum(axis=0)
    squares = float((ranks**2).sum())
    level = blocks * detectors * (detectors + 1) ** 2 / 4
    between = float((sums**2).sum()) - blocks * level
    statistic = (detectors - 1) * between / (squares - level)
    freedom = (blocks - 1) * (detectors - 1)
    error = np.sqrt(2 * (blocks * squares - (sums**2).sum()) / freedom)
    first, second = np.triu_indices(detectors, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.nan_to_num(np.abs(sums[first] - sums[second]) / error, nan=0.0)
    adjusted = holm(2 * stats.t.sf(distance, freedom))
    pairs = np.ones((detectors, detectors))
    pairs[first, second] = pairs[second, first] = adjusted
    return Ranks(sums / blocks, float(stats.chi2.sf(statistic, detectors - 1)), pairs)


def holm(p_values: Floats) -> Floats:
    """Adjusted p-values, in the order given, [M]."""
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    found = np.empty_like(p_values)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return found


def resampled_auroc(id_scores: Floats, ood_scores: Floats, id_weights: Floats, ood_weights: Floats):
    """AUROC of weighted rows for each of many weightings, [R]; ties count one half.

    Args:
        id_scores: [N].
        ood_scores: [M].
        id_weights: How often each ID row was drawn, [R, N].
        ood_weights: How often each OOD row was drawn, [R, M].
    """
    order = np.argsort(id_scores, kind="stable")
    below = np.concatenate(
        [np.zeros((len(id_weights), 1)), id_weights[:, order].cumsum(axis=1)], axis=1
    )
    ordered = id_scores[order]
    low = np.searchsorted(ordered, ood_scores, side="left")
    high = np.searchsorted(ordered, ood_scores, side="right")
    wins = (below[:, low] + below[:, high]) / 2
    pairs = id_weights.sum(axis=1) * ood_weights.sum(axis=1)
    return (wins * ood_weights).sum(axis=1) / pairs


def bootstrap_weights(rows: int, draws: int, seed: int) -> Floats:
    """How often each row is drawn with replacement, [draws, rows]."""
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=draws)
    return drawn.astype(np.float64)


def binomial_interval(hits: int, rows: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson, Biometrika 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, rows - hits + 1))
    high = 1.0 if hits == rows else float(stats.beta.ppf(1 - tail, hits + 1, rows - hits))
    return low, high


@cache
def alarm_interval(calibration: int, rows: int, level: float, inside: float = 0.95):
    """Exact interval of the number of false alarms among exchangeable rows.

    The chance that a new row is flagged, given the calibration rows, is Beta(k, n + 1 - k) with
    k = floor(level (n + 1)), so that alarms are beta-binomial.
    """
    rank = int(np.floor(level * (calibration + 1) + 1e-9))
    if rank == 0:
        return 0, 0
    chances = stats.betabinom(rows, rank, calibration + 1 - rank).pmf(np.arange(rows + 1)).cumsum()
    low, high = np.searchsorted(chances, [(1 - inside) / 2, (1 + inside) / 2])
    return int(low), int(high)
