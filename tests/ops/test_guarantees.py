import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import conformal as reference
from scipy import stats

from ltood.core.errors import ConfigError
from ltood.ops.guarantees import (
    benjamini_hochberg,
    check_share,
    guaranteed_rank,
    rows_for_confidence,
    rows_for_level,
)

LEVELS = st.floats(0.005, 0.6)
CONFIDENCES = st.floats(0.05, 0.99)


@pytest.mark.parametrize(
    ("rows", "rank"), [(1_000, 41), (2_000, 88), (5_000, 230), (10_000, 472), (20_000, 961)]
)
def test_known_ranks(rows, rank):
    assert guaranteed_rank(rows, 0.05, 0.9) == rank
    assert stats.beta.ppf(0.9, rank, rows + 1 - rank) <= 0.05
    assert stats.beta.ppf(0.9, rank + 1, rows - rank) > 0.05


@given(st.integers(1, 200), LEVELS, CONFIDENCES)
def test_rank_agrees_with_the_reference(rows, alpha, confidence):
    reached = [reference.confidence_of_rank(rank, rows, alpha) for rank in range(1, rows + 1)]
    found = guaranteed_rank(rows, alpha, confidence)
    clear = [abs(value - confidence) > 1e-9 for value in reached]
    if all(clear):
        assert found == sum(value >= confidence for value in reached)


@given(LEVELS, CONFIDENCES)
def test_rows_needed_are_the_fewest(alpha, confidence):
    rows = rows_for_confidence(alpha, confidence)
    assert guaranteed_rank(rows, alpha, confidence) >= 1
    assert rows == 1 or guaranteed_rank(rows - 1, alpha, confidence) == 0
    rows = rows_for_level(alpha)
    assert 1 / (rows + 1) <= alpha
    assert rows == 0 or 1 / rows > alpha


def test_known_rows():
    assert rows_for_level(0.05) == 19
    assert rows_for_level(0.01) == 99
    assert rows_for_confidence(0.05, 0.9) == 45


def test_confidence_is_reached_over_calibration_sets(rng):
    """The level given the calibration rows is at most alpha in the promised share of sets."""
    rows, alpha, confidence, draws = 300, 0.1, 0.8, 2_000
    rank = guaranteed_rank(rows, alpha, confidence)
    scores = np.sort(rng.uniform(size=(draws, rows)), axis=1)
    held = int((1 - scores[:, rows - rank] <= alpha).sum())
    assert stats.binomtest(held, draws, confidence, "less").pvalue > 1e-3
    reached = stats.beta.cdf(alpha, rank, rows + 1 - rank)
    assert stats.binomtest(held, draws, reached).pvalue > 1e-3


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.floats(0.01, 0.9))
def test_discoveries_agree_with_the_reference(twelfths, fdr):
    p_values = np.array(twelfths) / 12
    values, counts = np.unique(p_values, return_counts=True)
    cutoff = benjamini_hochberg(zip(values.tolist(), counts.tolist(), strict=True), fdr)
    want = reference.benjamini_hochberg(p_values, fdr)
    np.testing.assert_array_equal((p_values <= cutoff) & (cutoff > 0), want)
    # Exactly at a border the two divide in another order.
    adjusted = stats.false_discovery_control(p_values)
    if (np.abs(adjusted - fdr) > 1e-12).all():
        np.testing.assert_array_equal(want, adjusted <= fdr)


def test_no_rows_give_no_discoveries():
    assert benjamini_hochberg([], 0.1) == 0.0


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.2, float("nan"), "0.05", [0.05], True])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(ConfigError, match="--fpr"):
        check_share("--fpr", value, "a rate")
