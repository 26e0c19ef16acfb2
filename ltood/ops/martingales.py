"""A bet against "no drift", row by row: its capital may be looked at after every row.

Rows come one after another and are to be exchangeable with m reference rows. Each new score falls
between two of these, and without drift the gaps are drawn as from an urn of Polya: it holds one
ball of each of the m + 1 gaps, and a ball that was drawn goes back with another one like it. So

    p = (balls in higher gaps + u * balls in the same gap) / (all balls),   u uniform on 0 to 1,

are independent and uniform, exactly, although all rows are compared with the same reference rows
(equal scores are put in a random order). A player who bets on p at fair odds has no way to win:
the capital is a martingale that begins with 1, and by Ville it reaches 1 / alpha with a probability
of at most alpha, however long one plays and whenever one stops.

The player bets that drift begins at row t with the weight 1 / (t (t + 1)), and from then on with a
third of the stake each on high scores, f(p) = 3/2 - p, on low scores, f(p) = 1/2 + p, and on rare
scores that are very high, f(p) = 1 / (2 sqrt(p)). Each f has the mean 1. What has not yet been bet
after t rows is 1 / (t + 1), so that a long calm costs a factor of t and no more.

Sources: Vovk, Nouretdinov and Gammerman, "Testing Exchangeability On-Line", ICML 2003, and Vovk,
"Testing Randomness Online", Statistical Science 2021 (conformal test martingales); Ville 1939.
The urn and the mixture over the beginning are ours.
"""

import math

import numpy as np
from numpy.typing import NDArray

#: The same rows give the same capital.
SEED = 20210


class Martingale:
    """Evidence against "no drift" that grows row by row.

    Attributes:
        rows: New rows so far.
        log_capital: Logarithm of the capital now.
        log_largest: Its largest value so far, at least 0.
        largest_row: Row after which it was reached; 0 where it is the start.
    """

    def __init__(self, reference: NDArray[np.floating], seed: int = SEED) -> None:
        """Begin with the capital 1.

        Args:
            reference: Scores of reference rows, [m]; finite, at least one.
            seed: Seed of the numbers u and of the order of equal scores.
        """
        self._random = np.random.default_rng(seed)
        scores = np.asarray(reference, dtype=np.float64)
        ties = self._random.random(len(scores))
        order = np.lexsort((ties, scores))
        self._scores, self._ties = scores[order], ties[order]
        self._balls = Balls(len(scores) + 1)
        # Logarithms, as capital may outgrow all numbers: on high, low and very high scores.
        self._stakes = np.full(3, -np.inf)
        self.rows, self.log_capital, self.log_largest, self.largest_row = 0, 0.0, 0.0, 0

    def add(self, scores: NDArray[np.floating]) -> None:
        """Bet on new rows, one after the other.

        Args:
            scores: Scores, [n]; higher means more OOD.
        """
        wide = np.asarray(scores, dtype=np.float64)
        # Two numbers for each row in its turn, however rows are divided into calls.
        chance = self._random.random((len(wide), 2))
        gaps = self._gaps(wide, chance[:, 0])
        for gap, share in zip(gaps.tolist(), chance[:, 1].tolist(), strict=True):
            self._bet(self._balls.draw(gap, share))

    def _gaps(self, scores: NDArray[np.float64], ties: NDArray[np.float64]) -> NDArray[np.int64]:
        """Reference rows below each new row, [n]; among equal scores by lot."""
        low = np.searchsorted(self._scores, scores, side="left")
        high = np.searchsorted(self._scores, scores, side="right")
        for row in np.flatnonzero(low < high):
            low[row] += np.searchsorted(self._ties[low[row] : high[row]], ties[row])
        return low.astype(np.int64)

    def _bet(self, p_value: float) -> None:
        self.rows += 1
        new = -math.log(3 * self.rows * (self.rows + 1))
        p_value = max(p_value, 1e-300)
        odds = np.log([1.5 - p_value, 0.5 + p_value, 0.5 / math.sqrt(p_value)])
        self._stakes = np.logaddexp(self._stakes, new) + odds
        rest = -math.log(self.rows + 1)
        self.log_capital = float(np.logaddexp.reduce([*self._stakes, rest]))
        if self.log_capital > self.log_largest:
            self.log_largest, self.largest_row = self.log_capital, self.rows

    @property
    def p_value(self) -> float:
        """How likely so much evidence is without drift, at any time up to now, at most."""
        return math.exp(-self.log_largest)


class Balls:
    """An urn of balls of k kinds in order, first one of each."""

    def __init__(self, kinds: int) -> None:
        """Fill the urn.

        Args:
            kinds: Number of kinds k.
        """
        # Sums over ranges (Fenwick), so that a draw takes log k steps.
        self._sums = np.arange(kinds + 1)
        self._sums &= -self._sums
        self._kinds, self._total = kinds, kinds

    def draw(self, kind: int, share: float) -> float:
        """Share of higher balls, and `share` of the same kind; then one more of this kind.

        Args:
            kind: What was drawn, 0 to k - 1.
            share: 0 to 1.
        """
        below, upto = self._below(kind), self._below(kind + 1)
        found = (self._total - upto + share * (upto - below)) / self._total
        place = kind + 1
        while place <= self._kinds:
            self._sums[place] += 1
            place += place & -place
        self._total += 1
        return found

    def _below(self, kind: int) -> int:
        """Balls of lower kinds."""
        found, place = 0, kind
        while place:
            found += int(self._sums[place])
            place &= place - 1
        return found
