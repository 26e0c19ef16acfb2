"""The bet against "no drift": fair, the same however rows come, and quick where there is drift."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ltood.ops.martingales import Balls, Martingale


@given(st.lists(st.integers(0, 6), max_size=60))
def test_balls_are_counted_as_in_a_list(draws):
    urn, balls = Balls(7), [1] * 7
    for kind in draws:
        higher, same = sum(balls[kind + 1 :]), balls[kind]
        assert urn.draw(kind, 0.25) == pytest.approx((higher + 0.25 * same) / sum(balls))
        balls[kind] += 1


def slow_capital(p_values):
    """Sum over when drift begins and on what is bet; what is not yet bet is kept."""
    bets = (lambda p: 1.5 - p, lambda p: 0.5 + p, lambda p: 0.5 / math.sqrt(p))
    total = 1 / (len(p_values) + 1)
    for start in range(1, len(p_values) + 1):
        for bet in bets:
            stake = 1 / (3 * start * (start + 1))
            total += stake * math.prod(bet(p) for p in p_values[start - 1 :])
    return total


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_capital_is_that_of_all_bets(p_values):
    player = Martingale(np.array([0.0]))
    largest = 0.0
    for p_value in p_values:
        player._bet(p_value)
        largest = max(largest, player.log_capital)
    assert player.log_capital == pytest.approx(math.log(slow_capital(p_values)))
    assert player.log_largest == largest
    assert player.p_value == pytest.approx(math.exp(-largest))


def test_every_bet_is_fair():
    p_values = (np.arange(200_000) + 0.5) / 200_000
    for bet in (1.5 - p_values, 0.5 + p_values, 0.5 / np.sqrt(p_values)):
        assert bet.mean() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("values", [1_000_000, 4])
def test_p_values_are_uniform_although_all_share_the_reference(values, monkeypatch):
    """Also where scores are often equal; those of one run are as free as those of many."""
    found = []
    monkeypatch.setattr(Martingale, "_bet", lambda self, p: found.append(p))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        player = Martingale(rng.integers(0, values, 12), seed)
        player.add(rng.integers(0, values, 50))
    late = np.array(found).reshape(60, 50)
    assert stats.kstest(late.ravel(), "uniform").pvalue > 0.01
    assert stats.kstest(late[:, -1], "uniform").pvalue > 0.01
    # Neighbours do not know of one another.
    assert abs(np.corrcoef(late[:, :-1].ravel(), late[:, 1:].ravel())[0, 1]) < 0.06


def test_false_alarms_are_as_rare_as_promised():
    rng, level = np.random.default_rng(0), 0.2
    alarms = 0
    for _ in range(150):
        player = Martingale(rng.normal(size=15), int(rng.integers(2**32)))
        player.add(rng.normal(size=60))
        alarms += player.p_value <= level
    # Ville promises a probability of at most 0.2, whenever one looks.
    assert stats.binomtest(alarms, 150, level, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize(
    "change", [lambda s: s + 1, lambda s: s - 1, lambda s: np.where(s > 0.8, s + 9, s)]
)
def test_drift_is_found_after_long_calm(change):
    rng = np.random.default_rng(0)
    player = Martingale(rng.normal(size=500))
    player.add(rng.normal(size=1500))
    assert player.p_value > 0.01
    player.add(change(rng.normal(size=200)))
    assert player.p_value <= 0.01
    assert player.largest_row > 1500


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 20))
def test_rows_may_come_in_any_groups(scores, cut):
    whole, parts = Martingale(np.array([1, 2, 2, 3])), Martingale(np.array([1, 2, 2, 3]))
    whole.add(np.array(scores))
    parts.add(np.array(scores[:cut]))
    parts.add(np.array(scores[cut:]))
    assert whole.log_capital == parts.log_capital
    assert whole.rows == len(scores)
