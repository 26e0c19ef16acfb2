"""Tests of drift: equal to slow ones, and false alarms as often as they say."""

import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ltood.ops import drift
from ltood.ops.drift import DRAWS, Cells, excess_p_value, mix_p_value, share_interval

#: Few different values, so that scores are often equal.
some = st.lists(st.integers(0, 6), min_size=1, max_size=25)


@settings(max_examples=25)
@given(some, some, st.integers(0, 25))
def test_cells_give_what_all_scores_give(reference, new, cut):
    cells = Cells(np.array(reference))
    for part in (new[:cut], new[cut:]):
        cells.add(np.array(part, dtype=np.float32))
    distance, p_value = cells.smirnov()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = stats.ks_2samp(reference, new)
    assert distance == pytest.approx(wanted.statistic)
    assert p_value == pytest.approx(wanted.pvalue, abs=1e-9)
    gap = cells.largest_gap()
    assert abs(gap) == pytest.approx(distance)
    at = sorted({*reference, *new})
    ahead = [np.mean(np.array(reference) <= x) - np.mean(np.array(new) <= x) for x in at]
    assert any(gap == pytest.approx(end) for end in (max(ahead), min(ahead)))
    assert cells.rows == len(new)


def test_many_rows_take_the_limit(monkeypatch):
    rng = np.random.default_rng(0)
    reference, new = rng.normal(size=400), rng.normal(size=300) + 0.1
    cells = Cells(reference)
    cells.add(new)
    exact = cells.smirnov()
    monkeypatch.setattr(drift, "EXACT_ROWS", 100)
    near = cells.smirnov()
    assert near[0] == exact[0]
    assert near[1] == pytest.approx(exact[1], rel=0.1)


def test_nothing_is_known_without_rows():
    cells = Cells(np.array([1.0]))
    assert cells.smirnov() == (0.0, 1.0)
    assert cells.largest_gap() == 0.0
    assert share_interval(0, 0) == (0.0, 1.0)
    assert excess_p_value(0, 0, 0, 5) == 1.0


@given(st.integers(1, 40), st.data())
def test_intervals_hold_what_a_test_does_not_refuse(rows, data):
    hits = data.draw(st.integers(0, rows))
    low, high = share_interval(hits, rows, 0.9)
    wanted = stats.binomtest(hits, rows).proportion_ci(0.9, "exact")
    assert (low, high) == pytest.approx((wanted.low, wanted.high))
    assert low <= hits / rows <= high


@pytest.mark.parametrize(("known", "kept"), [(20, 19), (20, 20), (9, 5)])
def test_counts_beyond_a_reference_score_are_told_exactly(known, kept):
    """All orders of reference and new rows are equally likely: count them by drawing."""
    rng, new = np.random.default_rng(0), 6
    scores = rng.random((20_000, known + new))
    threshold = np.sort(scores[:, :known], axis=1)[:, kept - 1 : kept]
    hits = (scores[:, known:] > threshold).sum(axis=1)
    for num in range(1, new + 1):
        wanted = (hits >= num).mean()
        found = excess_p_value(num, new, known - kept, known)
        assert found == pytest.approx(wanted, abs=0.015)


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_an_excess_of_more_rows_is_rarer(rows, known, data):
    beyond = data.draw(st.integers(0, known))
    found = [excess_p_value(hits, rows, beyond, known) for hits in range(rows + 1)]
    assert found[0] == 1.0
    assert all(0 <= b <= a <= 1 for a, b in itertools.pairwise(found))


def dealt(totals, num):
    """All ways to take `num` rows out of classes with these totals, each with its probability."""
    whole = math.comb(sum(totals), num)
    for counts in itertools.product(*(range(total + 1) for total in totals)):
        if sum(counts) == num:
            ways = math.prod(math.comb(t, n) for t, n in zip(totals, counts, strict=True))
            yield counts, ways / whole


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4))
@settings(max_examples=15)
def test_a_class_mix_is_compared_with_all_ways_to_deal_it(pairs):
    new, known = (list(column) for column in zip(*pairs, strict=True))
    found = mix_p_value(np.array(new), np.array(known))
    totals = [a + b for a, b in pairs]

    def chi_square(counts):
        return sum(Fraction(n * n, t) for n, t in zip(counts, totals, strict=True) if t)

    wanted = min(
        1.0,
        sum(p for counts, p in dealt(totals, sum(new)) if chi_square(counts) >= chi_square(new)),
    )
    assert found == mix_p_value(np.array(new), np.array(known))
    assert abs(found - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / DRAWS) + 1 / DRAWS
