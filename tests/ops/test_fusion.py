import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.ensemble import fuse
from scipy.special import ndtri_exp

from ltood.ops.fusion import (
    P_VALUE_RULES,
    below_one,
    mean_softmax,
    mean_standardised,
    normal_scores,
)

rules = pytest.mark.parametrize("rule", P_VALUE_RULES)
logs = st.lists(
    st.lists(st.floats(-600, -1e-4), min_size=3, max_size=3), min_size=1, max_size=6
).map(lambda rows: torch.tensor(rows, dtype=torch.float64))


@rules
@given(log_p=logs)
def test_rules_equal_the_loops(rule, log_p):
    rows = 5000
    found = P_VALUE_RULES[rule](below_one(log_p, rows))
    expected = [fuse(row, rule, rows) for row in log_p.T.tolist()]
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
    )


@rules
@given(log_p=logs, member=st.integers(0, 5), less=st.floats(0, 50))
def test_a_rarer_member_never_makes_a_row_less_rare(rule, log_p, member, less):
    rarer = log_p.clone()
    rarer[member % len(log_p)] -= less
    before, after = P_VALUE_RULES[rule](log_p), P_VALUE_RULES[rule](rarer)
    assert (after >= before - 1e-9 * before.abs().clamp(min=1)).all()


@rules
@given(log_p=logs, random=st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(rule, log_p, random):
    order = list(range(len(log_p)))
    random.shuffle(order)
    found = P_VALUE_RULES[rule]
    torch.testing.assert_close(found(log_p[order]), found(log_p), rtol=1e-9, atol=1e-9)


@rules
@pytest.mark.parametrize("log_p", [-1e-4, -1.0, -300.0, -745.2, -1e5, -1e12])
def test_all_is_finite_and_ordered_far_out(rule, log_p):
    rows = torch.full((4, 3), -0.5, dtype=torch.float64)
    rows[0] = torch.tensor([log_p, 1.001 * log_p, 1.01 * log_p])
    found = P_VALUE_RULES[rule](rows)
    assert torch.isfinite(found).all()
    assert (found.diff() >= 0).all()
    if log_p < -10:
        assert (found.diff() > 0).all()


@rules
def test_one_member_alone_is_ranked_as_it_ranks(rule):
    log_p = torch.linspace(-40, -0.001, 200, dtype=torch.float64)[None]
    assert (P_VALUE_RULES[rule](log_p).diff() < 0).all()


def test_known_values():
    log_p = torch.tensor([[0.01, 0.02], [0.03, 0.5], [0.9, 0.5]], dtype=torch.float64).log()
    found = {rule: function(log_p).neg().exp() for rule, function in P_VALUE_RULES.items()}
    torch.testing.assert_close(found["simes"], torch.tensor([0.03, 0.06], dtype=torch.float64))
    torch.testing.assert_close(found["min_p"], torch.tensor([0.01, 0.02], dtype=torch.float64))
    # tan(pi (0.5 - p)) of 0.02, 0.5 and 0.5 has the mean of the first alone.
    expected = math.atan2(1, 1 / math.tan(0.02 * math.pi) / 3) / math.pi
    assert float(found["cauchy"][1]) == pytest.approx(expected)


def test_normal_scores_far_beyond_float64():
    log_p = -torch.logspace(-6, 15, 400, dtype=torch.float64)
    expected = torch.from_numpy(-ndtri_exp(log_p.numpy()))
    torch.testing.assert_close(normal_scores(log_p), expected, rtol=1e-9, atol=1e-9)


def test_a_p_value_of_one_stays_above_all_others():
    rows = 9
    log_p = torch.arange(1, rows + 2, dtype=torch.float64).div(rows + 1).log()
    bounded = below_one(log_p, rows)
    assert (bounded.diff() > 0).all()
    assert float(bounded[-1].exp()) == pytest.approx((rows + 0.5) / (rows + 1))
    assert torch.equal(bounded[:-1], log_p[:-1])


def test_standardised_scores():
    scores = torch.tensor([[1.0, 3.0], [10.0, 10.0]], dtype=torch.float64)
    found = mean_standardised(scores, torch.tensor([1.0, 9.0]), torch.tensor([2.0, 0.0]))
    assert found.tolist() == [0.5, 1.0]


def test_the_mean_softmax(rng):
    logits = rng.normal(size=(3, 5, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    expected = -np.log(probabilities.mean(axis=0).max(axis=1))
    found = mean_softmax(torch.from_numpy(logits).log_softmax(dim=2))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
