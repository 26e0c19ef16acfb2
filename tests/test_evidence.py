"""Statistics of the study of ensembles: what its page rests on."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ltood.metrics.auroc import auroc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ensembles_statistics import (
    alarm_interval,
    binomial_interval,
    bootstrap_weights,
    conover_holm,
    holm,
    resampled_auroc,
)

VALUES = np.round(np.random.default_rng(0).normal(size=(12, 5)) + np.arange(5) / 4, 1)


def test_friedman_is_scipys():
    assert conover_holm(VALUES).p_value == pytest.approx(
        stats.friedmanchisquare(*VALUES.T).pvalue, rel=1e-9
    )


def test_pairs_are_conovers_t_tests():
    blocks, detectors = VALUES.shape
    ranks = [stats.rankdata(-row) for row in VALUES]
    sums = [sum(row[k] for row in ranks) for k in range(detectors)]
    squares = sum(rank**2 for row in ranks for rank in row)
    freedom = (blocks - 1) * (detectors - 1)
    error = (2 * (blocks * squares - sum(total**2 for total in sums)) / freedom) ** 0.5
    raw = {
        (a, b): 2 * stats.t.sf(abs(sums[a] - sums[b]) / error, freedom)
        for a in range(detectors)
        for b in range(a)
    }
    found = conover_holm(VALUES)
    assert found.mean == pytest.approx(np.array(sums) / blocks)
    largest = 0.0
    for place, (pair, p_value) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        largest = min(1.0, max(largest, p_value * (len(raw) - place)))
        assert found.pairs[pair] == pytest.approx(largest)
    assert found.clique(0)[0]


def test_better_detectors_have_lower_ranks():
    values = np.arange(4)[None, :] + np.zeros((9, 1))
    assert conover_holm(values).mean.tolist() == [4, 3, 2, 1]


def test_holm_keeps_the_order_given():
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=9),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=9),
)
def test_weights_are_repeated_rows(id_rows, ood_rows):
    id_scores, id_counts = np.array([(0, 1), *id_rows], dtype=float).T
    ood_scores, ood_counts = np.array([(3, 1), *ood_rows], dtype=float).T
    found = resampled_auroc(id_scores, ood_scores, id_counts[None], ood_counts[None])
    repeated = [
        np.repeat(s, c.astype(int)) for s, c in ((id_scores, id_counts), (ood_scores, ood_counts))
    ]
    expected = auroc(*repeated)
    assert found == pytest.approx([expected])


def test_bootstrap_draws_as_many_rows():
    weights = bootstrap_weights(20, 50, 0)
    assert weights.shape == (50, 20)
    assert (weights.sum(axis=1) == 20).all()
    assert len(np.unique(weights, axis=0)) == 50


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (3, 10), (10, 10), (51, 1000)])
def test_binomial_interval_is_exact(hits, rows):
    expected = stats.binomtest(hits, rows).proportion_ci(0.95, method="exact")
    assert binomial_interval(hits, rows) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("calibration", "rows", "level"), [(99, 200, 0.05), (500, 100, 0.1)])
def test_alarms_fall_into_their_interval(calibration, rows, level):
    low, high = alarm_interval(calibration, rows, level)
    law = stats.betabinom(
        rows, int(level * (calibration + 1)), calibration + 1 - int(level * (calibration + 1))
    )
    assert (low, high) == (law.ppf(0.025), law.ppf(0.975))
    random = np.random.default_rng(1)
    inside = []
    for _ in range(400):
        scores = random.permutation(calibration + rows)
        held, new = np.sort(scores[:calibration]), scores[calibration:]
        p_values = (1 + calibration - np.searchsorted(held, new)) / (calibration + 1)
        inside.append(low <= (p_values <= level + 1e-12).sum() <= high)
    assert stats.binomtest(sum(inside), 400, 0.95, alternative="less").pvalue > 1e-4


def test_too_few_rows_never_flag():
    assert alarm_interval(10, 100, 0.05) == (0, 0)
