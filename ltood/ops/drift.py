"""Whether new rows are like reference rows: tests whose rate of false alarms is known.

All of them assume that under "no drift" reference and new rows are exchangeable, and nothing about
the distribution of their scores. What they need of the new rows is how many fell between which
reference scores, so that memory does not grow with the rows.

Sources: Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
the Binomial", Biometrika 1934 (interval); Thatcher, "Relationships between Bayesian and Confidence
Limits for Predictions", JRSS B 1964 (share); Hodges, "The Significance Probability of the Smirnov
Two-Sample Test", Arkiv for Matematik 1958 (distribution); Phipson and Smyth, "Permutation P-values
Should Never Be Zero", Statistical Applications in Genetics and Molecular Biology 2010 (class mix).
"""

import warnings

import numpy as np
from numpy.typing import NDArray

#: Rows of either sample up to which the distribution of the Smirnov statistic is exact.
EXACT_ROWS = 10_000
#: Ways to deal rows out that are drawn for a p-value of class mixes.
DRAWS = 1_999
#: Counts that are drawn at a time.
_BLOCK = 2**20


def share_interval(hits: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of Clopper and Pearson for a share of which `hits` of `rows` were seen.

    Args:
        hits: Rows that were counted.
        rows: All rows; without any the interval is 0 to 1.
        confidence: How often the interval holds the true share, at least.
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, rows - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, rows - hits, 1 - tail)) if hits < rows else 1.0
    return low, high


def mix_p_value(new: NDArray[np.int64], known: NDArray[np.int64]) -> float:
    """How likely the classes of new rows differ so much, or more, from those of reference rows.

    The statistic is the chi-square of the two rows of counts. Its distribution is that of all ways
    to deal the same rows out to the two sides, of which `DRAWS` are drawn, the same ones each
    time: the p-value is exact at any number of rows, and at least 1 / (DRAWS + 1).

    Args:
        new: New rows of each class, [C].
        known: Reference rows of each class, [C].

    Returns:
        The p-value, 1 where either side has no rows.
    """
    total = new + known
    seen = total > 0
    new, total = new[seen], total[seen]
    if not new.sum() or new.sum() == total.sum():
        return 1.0
    random, hits = np.random.default_rng(0), 0
    # With given totals the chi-square grows with this sum. Equal ones may round differently.
    reached = (new**2 / total).sum() * (1 - 1e-12)
    block = max(1, _BLOCK // len(total))
    for start in range(0, DRAWS, block):
        size = min(block, DRAWS - start)
        dealt = random.multivariate_hypergeometric(total, new.sum(), size, method="marginals")
        hits += int(((dealt**2 / total).sum(axis=1) >= reached).sum())
    return (1 + hits) / (DRAWS + 1)


def excess_p_value(hits: int, rows: int, known_hits: int, known_rows: int) -> float:
    """How likely so many new rows, or more, lie beyond a threshold that reference rows know.

    The share of new rows beyond the threshold is not known, only that `known_hits` of `known_rows`
    reference rows are: the count of new ones follows at most a beta-binomial distribution with
    parameters known_hits + 1 and known_rows - known_hits, exactly where the threshold is one of the
    reference scores, as those of detectors are.

    Args:
        hits: New rows beyond the threshold.
        rows: New rows.
        known_hits: Reference rows beyond the threshold.
        known_rows: Reference rows.

    Returns:
        The p-value, 1 where all reference rows are beyond it.
    """
    from scipy.stats import betabinom

    if hits == 0 or known_hits >= known_rows:
        return 1.0
    found = betabinom.sf(hits - 1, rows, known_hits + 1, known_rows - known_hits)
    return float(np.clip(found, 0.0, 1.0))


class Cells:
    """Reference scores, and how many new rows fell between which of them.

    The cells are the different reference scores and the gaps below, between and above them.

    Attributes:
        counts: New rows by cell, [2 U + 1] int64 for U different reference scores; even cells are
            gaps.
    """

    def __init__(self, reference: NDArray[np.floating]) -> None:
        """Take reference scores.

        Args:
            reference: Scores, [m]; finite, at least one.
        """
        self._values, self._known = np.unique(
            np.asarray(reference, dtype=np.float64), return_counts=True
        )
        self.counts = np.zeros(2 * len(self._values) + 1, dtype=np.int64)

    def add(self, scores: NDArray[np.floating]) -> None:
        """Count new rows, [n]."""
        wide = np.asarray(scores, dtype=np.float64)
        below = np.searchsorted(self._values, wide, side="left")
        upto = np.searchsorted(self._values, wide, side="right")
        self.counts += np.bincount(below + upto, minlength=len(self.counts))

    @property
    def rows(self) -> int:
        """New rows so far."""
        return int(self.counts.sum())

    def largest_gap(self) -> float:
        """Largest difference of the two distribution functions; above 0 if new rows score higher.

        0 without new rows.
        """
        if not self.rows:
            return 0.0
        known = self._reference()
        gaps = known.cumsum() / known.sum() - self.counts.cumsum() / self.rows
        return float(gaps[np.abs(gaps).argmax()])

    def _reference(self) -> NDArray[np.int64]:
        """Reference rows by cell."""
        known = np.zeros_like(self.counts)
        known[1::2] = self._known
        return known

    def smirnov(self) -> tuple[float, float]:
        """Largest distance of the two distribution functions, and its p-value.

        Exact for up to 10,000 rows of each, conservative where scores are equal; above, the
        distribution of one sample with m n / (m + n) rows stands in. (0, 1) without new rows.
        """
        if not self.rows:
            return 0.0, 1.0
        from scipy import stats

        known = self._reference()
        num, other = int(known.sum()), self.rows
        distance = abs(self.largest_gap())
        if max(num, other) > EXACT_ROWS:
            return distance, float(stats.kstwo.sf(distance, round(num * other / (num + other))))
        cells = np.arange(len(known))
        with warnings.catch_warnings():  # Where counting fails, scipy takes the limit.
            warnings.simplefilter("ignore", RuntimeWarning)
            found = stats.ks_2samp(np.repeat(cells, known), np.repeat(cells, self.counts))
        return distance, float(found.pvalue)
