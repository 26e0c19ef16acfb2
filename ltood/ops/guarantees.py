"""From p-values to verdicts: levels that hold, and how many rows they take.

Sources: Bates, Candes, Lei, Romano and Sesia, "Testing for Outliers with Conformal p-values",
Annals of Statistics 2023 (arXiv:2104.08279): the level given the calibration rows follows a beta
distribution, and the Benjamini-Hochberg procedure holds for conformal p-values of one
calibration set; Benjamini and Hochberg, JRSS B 1995.
"""

import math
from collections.abc import Iterable
from numbers import Real

from ltood.core.errors import ConfigError, quoted


def rows_for_level(alpha: float) -> int:
    """Fewest calibration rows with which a p-value can be as small as `alpha`."""
    # The test is the one that decides: 1 / (n + 1) <= alpha, in the same arithmetic.
    rows = max(math.ceil(1 / alpha) - 2, 0)
    while 1 / (rows + 1) > alpha:
        rows += 1
    return rows


def rows_for_confidence(alpha: float, confidence: float) -> int:
    """Fewest calibration rows for which `guaranteed_rank` is at least 1."""
    # The largest of n scores is exceeded with a probability above alpha in (1 - alpha)^n cases.
    rows = max(math.ceil(math.log1p(-confidence) / math.log1p(-alpha)) - 1, 1)
    while guaranteed_rank(rows, alpha, confidence) == 0:
        rows += 1
    return rows


def guaranteed_rank(rows: int, alpha: float, confidence: float) -> int:
    """How many of the largest calibration scores may count as alarms.

    A new ID row scores above the k-th largest of n calibration scores with a probability that,
    over calibration sets, follows Beta(k, n + 1 - k); with ties it is smaller. The result is
    the largest k for which this is at most `alpha` in a share `confidence` of the sets.

    Args:
        rows: Calibration rows n.
        alpha: Level to hold, above 0 and below 1.
        confidence: Share of calibration sets for which it must hold, above 0 and below 1.

    Returns:
        The rank k, 0 where there are too few rows: see `rows_for_confidence`.
    """
    from scipy.special import betainc

    low, high = 0, rows + 1  # holds at `low`, fails at `high`
    while high - low > 1:
        rank = (low + high) // 2
        if betainc(rank, rows + 1 - rank, alpha) >= confidence:
            low = rank
        else:
            high = rank
    return low


def confident_level(rank: int, rows: int, confidence: float) -> float:
    """Level that the `rank` largest of `rows` calibration scores keep with a confidence.

    Args:
        rank: Calibration scores that count as alarms, below n + 1.
        rows: Calibration rows n.
        confidence: Share of calibration sets for which the level holds.
    """
    from scipy.special import betaincinv

    return float(betaincinv(rank, rows + 1 - rank, confidence)) if rank else 0.0


def benjamini_hochberg(p_values: Iterable[tuple[float, int]], fdr: float) -> float:
    """Largest p-value that counts as a discovery; 0 where none does.

    Args:
        p_values: Different p-values and how many rows have each, in any order. Conformal
            p-values take few different values, so that counts stand for any number of rows.
        fdr: Expected share of ID rows among the rows flagged.
    """
    ordered = sorted(p_values)
    rows = sum(count for _, count in ordered)
    cutoff, reached = 0.0, 0
    for value, count in ordered:
        reached += count
        if value <= fdr * reached / rows:
            cutoff = value
    return cutoff


def check_share(name: str, value: float, meaning: str) -> None:
    """Refuse a level, rate or confidence that is not a share.

    Raises:
        ConfigError: If the value is not above 0 and below 1.
    """
    if not isinstance(value, Real) or not 0 < value < 1:
        raise ConfigError(f"{name} is {quoted(value)}; it is {meaning}, above 0 and below 1.")
