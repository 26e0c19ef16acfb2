from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import conformal as reference

from ltood.core.errors import DataError
from ltood.ops.conformal import RankMap
from ltood.ops.mondrian import GroupedMap, merged_parts

#: Few values, so that ties are frequent.
TIED = st.integers(-4, 4).map(float)
SCORES = st.lists(TIED | st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=30)


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_every_p_value_is_equally_likely_over_all_orders(num):
    seen = {}
    for order in permutations(range(num + 1)):
        p = RankMap.fit(doubles(order[:-1])).p_values(doubles(order[-1:])).item()
        seen[p] = seen.get(p, 0) + 1
    assert {Fraction(p).limit_denominator(99) for p in seen} == {
        Fraction(rank, num + 1) for rank in range(1, num + 2)
    }
    assert len(set(seen.values())) == 1


def test_ties_never_raise_the_level_over_all_orders():
    scores = [0.0, 1.0, 1.0, 1.0, 2.0, 2.0]
    found = doubles(
        [
            RankMap.fit(doubles(order[:-1])).p_values(doubles(order[-1:])).item()
            for order in permutations(scores)
        ]
    )
    for rank in range(1, 7):
        assert (found <= rank / 6).double().mean() <= rank / 6 + 1e-12
    assert (found <= 2 / 6).double().mean() == pytest.approx(2 / 6)  # both rows of score 2


@given(SCORES, SCORES)
def test_agrees_with_the_reference(calibration, new):
    fitted, scores = RankMap.fit(doubles(calibration)), doubles(new)
    want = [reference.p_value(score, calibration) for score in new]
    assert fitted.p_values(scores).tolist() == want
    want = [reference.two_sided(score, calibration) for score in new]
    assert fitted.p_values(scores, two_sided=True).tolist() == want
    want = [reference.log_p(score, calibration) for score in new]
    np.testing.assert_allclose(fitted.log_p(scores), want, rtol=1e-9, atol=1e-12)
    want = [reference.log_p_two_sided(score, calibration) for score in new]
    np.testing.assert_allclose(fitted.log_p(scores, two_sided=True), want, rtol=1e-9, atol=1e-12)


@given(st.lists(st.tuples(TIED, st.floats(0.01, 50)), min_size=1, max_size=20), SCORES)
def test_weights_agree_with_the_reference(calibration, new):
    scores, weights = zip(*calibration, strict=True)
    fitted = RankMap.fit(doubles(scores), weights=doubles(weights))
    want = [reference.p_value(score, scores, weights, max(weights)) for score in new]
    np.testing.assert_allclose(fitted.p_values(doubles(new)), want, rtol=1e-12)


def test_equal_weights_are_no_weights(rng):
    scores = torch.tensor(rng.normal(size=50))
    plain, weighted = RankMap.fit(scores), RankMap.fit(scores, weights=torch.full((50,), 3.0))
    torch.testing.assert_close(weighted.p_values(scores), plain.p_values(scores))


def test_a_larger_weight_of_the_new_row_only_raises_p_values(rng):
    scores, weights = torch.tensor(rng.normal(size=50)), torch.tensor(rng.uniform(size=50))
    new = torch.linspace(-4, 4, 33)
    found = [
        RankMap.fit(scores, weights=weights, test_weight=own).p_values(new)
        for own in (0.5, 1.0, 7.0)
    ]
    assert (found[0] <= found[1]).all()
    assert (found[1] <= found[2]).all()


@given(SCORES)
def test_increasing_maps_leave_p_values(calibration):
    scores, new = doubles(calibration), torch.linspace(-8, 8, 33, dtype=torch.float64)
    warped = RankMap.fit(_warp(scores)).p_values(_warp(new))
    torch.testing.assert_close(warped, RankMap.fit(scores).p_values(new), rtol=0, atol=0)


@given(st.sets(st.integers(-50, 50), min_size=1), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_affine_maps_leave_the_ranking(calibration, factor, shift):
    """Shifted by a third, so that no new score equals one of calibration but for rounding."""
    scores, new = doubles(sorted(calibration)), torch.arange(-80, 80).double() + 1 / 3
    if len(scores) == 1:  # One row has no unit.
        factor = 1.0
    moved = RankMap.fit(factor * scores + shift).log_p(factor * new + shift)
    torch.testing.assert_close(moved, RankMap.fit(scores).log_p(new), rtol=1e-6, atol=1e-6)


def _warp(values):
    """Strictly increasing, also for neighbouring numbers: it moves them by powers of two."""
    return torch.where(values > 0, values * 8, values * 0.5)


def test_ranking_goes_on_beyond_the_largest_score(rng):
    calibration = torch.tensor(rng.normal(size=400))
    fitted, largest = RankMap.fit(calibration), calibration.max()
    beyond = largest + torch.linspace(1e-9, 50, 200, dtype=torch.float64)
    assert (fitted.p_values(beyond) == 1 / 401).all()
    assert (fitted.log_p(beyond).diff() < 0).all()
    # Continuous from the right: just beyond the largest score the tail begins at 1 / (n + 1).
    assert fitted.log_p(beyond[:1]).exp().item() == pytest.approx(1 / 401, rel=1e-6)
    inside = torch.linspace(-5, largest.item(), 99, dtype=torch.float64)
    torch.testing.assert_close(fitted.log_p(inside), fitted.p_values(inside).log())
    assert (fitted.log_p(-beyond, two_sided=True).diff() < 0).any()


def test_exponential_scores_get_their_own_tail(rng):
    fitted = RankMap.fit(torch.tensor(3 * rng.exponential(size=40_000)))
    assert fitted.tails[0].item() == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("two_sided", [False, True])
def test_simulated_p_values_are_uniform(rng, two_sided):
    hits, draws, num = np.zeros(3), 2_000, 39
    levels = np.array([0.05, 0.1, 0.5])
    for _ in range(draws):
        rows = torch.tensor(rng.standard_t(2, size=num + 1))
        p = RankMap.fit(rows[:-1]).p_values(rows[-1:], two_sided=two_sided).item()
        hits += p <= levels
    # Exact levels, as these are multiples of 2 / (n + 1): five standard errors.
    np.testing.assert_array_less(
        np.abs(hits / draws - levels), 5 * np.sqrt(levels * (1 - levels) / draws)
    )


@st.composite
def grouped(draw):
    num_groups = draw(st.integers(1, 5))
    group = st.integers(0, num_groups - 1)
    rows = st.lists(st.tuples(TIED, group), min_size=1, max_size=30)
    return num_groups, draw(rows), draw(rows), draw(st.integers(0, 8))


@given(grouped())
def test_groups_agree_with_the_reference(case):
    num_groups, calibration, new, minimum = case
    scores, groups = (torch.tensor(column) for column in zip(*calibration, strict=True))
    fitted = GroupedMap.fit(scores, groups, num_groups, minimum=minimum)
    counts = torch.bincount(groups, minlength=num_groups).tolist()
    parts = reference.merged(counts, minimum)
    assert [(fitted.parts == part).nonzero().flatten().tolist() for part in range(len(parts))] == (
        parts
    )
    assert fitted.counts.tolist() == [sum(counts[g] for g in part) for part in parts]
    beside = [
        [s for s, g in calibration if g in next(part for part in parts if group in part)]
        for _, group in new
    ]
    new_scores, new_groups = (torch.tensor(column) for column in zip(*new, strict=True))
    for two_sided, p_value, log_p in (
        (False, reference.p_value, reference.log_p),
        (True, reference.two_sided, reference.log_p_two_sided),
    ):
        want = [p_value(score, others) for (score, _), others in zip(new, beside, strict=True)]
        assert fitted.p_values(new_scores, new_groups, two_sided=two_sided).tolist() == want
        want = [log_p(score, others) for (score, _), others in zip(new, beside, strict=True)]
        got = fitted.log_p(new_scores, new_groups, two_sided=two_sided)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_one_group_is_the_plain_map(rng):
    scores, new = torch.tensor(rng.normal(size=80)), torch.tensor(rng.normal(size=40))
    none, plain = torch.zeros(80, dtype=torch.int64), RankMap.fit(scores)
    fitted = GroupedMap.fit(scores, none, 1)
    torch.testing.assert_close(fitted.p_values(new, none[:40]), plain.p_values(new))
    torch.testing.assert_close(fitted.log_p(new, none[:40]), plain.log_p(new))


def test_other_groups_change_nothing(rng):
    scores, groups = torch.tensor(rng.normal(size=90)), torch.arange(90) % 3
    new = torch.tensor(rng.normal(size=20))
    before = GroupedMap.fit(scores, groups, 3)
    after = GroupedMap.fit(torch.where(groups == 1, scores, 100 * scores), groups, 3)
    ones = torch.ones(20, dtype=torch.int64)
    torch.testing.assert_close(after.p_values(new, ones), before.p_values(new, ones))


@pytest.mark.parametrize(
    ("counts", "minimum", "parts"),
    [
        ([30, 30, 30], 19, [0, 1, 2]),
        ([30, 5, 30], 19, [0, 1, 1]),
        ([30, 30, 5], 19, [0, 1, 1]),
        ([5, 5, 5], 19, [0, 0, 0]),
        ([0, 0, 4], 1, [0, 0, 0]),
        ([0, 0, 4], 0, [0, 1, 2]),
        ([4, 0, 0], 1, [0, 0, 0]),
        ([0], 1, [0]),
    ],
)
def test_small_groups_join_the_next(counts, minimum, parts):
    assert merged_parts(torch.tensor(counts), minimum).tolist() == parts


def test_an_empty_group_that_is_not_merged_knows_nothing():
    fitted = GroupedMap.fit(torch.tensor([1.0, 2.0]), torch.tensor([1, 1]), 3, minimum=0)
    new, groups = torch.tensor([9.0, 9.0, -9.0]), torch.tensor([0, 2, 2])
    assert fitted.p_values(new, groups, two_sided=True).tolist() == [1.0] * 3
    assert fitted.log_p(new, groups, two_sided=True).tolist() == [0.0] * 3


@given(grouped(), st.floats(0.01, 0.99))
def test_thresholds_decide_as_p_values_do(case, level):
    num_groups, calibration, new, minimum = case
    scores, groups = (torch.tensor(column) for column in zip(*calibration, strict=True))
    new_scores, new_groups = (torch.tensor(column) for column in zip(*new, strict=True))
    plain = RankMap.fit(scores)
    assert torch.equal(new_scores > plain.threshold(level), plain.p_values(new_scores) <= level)
    heavy = RankMap.fit(scores, weights=1 + groups.double())
    assert torch.equal(new_scores > heavy.threshold(level), heavy.p_values(new_scores) <= level)
    fitted = GroupedMap.fit(scores, groups, num_groups, minimum=minimum)
    limits = fitted.thresholds(torch.full((len(fitted.counts),), level, dtype=torch.float64))
    flagged = new_scores > limits[fitted.parts[new_groups]]
    assert torch.equal(flagged, fitted.p_values(new_scores, new_groups) <= level)


@given(SCORES)
def test_state_is_the_whole_map(calibration):
    scores, new = doubles(calibration), torch.linspace(-5, 5, 11)
    groups = torch.arange(len(scores)) % 2
    plain, parted = RankMap.fit(scores), GroupedMap.fit(scores, groups, 2)
    again = RankMap.restore(plain.state()), GroupedMap.restore(parted.state())
    assert torch.equal(again[0].log_p(new), plain.log_p(new))
    sides = torch.arange(11) % 2
    assert torch.equal(again[1].log_p(new, sides), parted.log_p(new, sides))


def test_unusual_scores():
    fitted = RankMap.fit(torch.tensor([1.0, 2.0, 3.0]))
    new = torch.tensor([torch.nan, torch.inf, -torch.inf])
    assert fitted.p_values(new)[1:].tolist() == [0.25, 1.0]
    assert fitted.log_p(new)[1:].tolist() == [-torch.inf, 0.0]
    for found in (fitted.p_values(new), fitted.log_p(new), fitted.log_p(new, two_sided=True)):
        assert found[0].isnan()
    constant = RankMap.fit(torch.ones(5))
    assert constant.log_p(torch.tensor([1.0, 2.0])).tolist() == pytest.approx(
        [0.0, np.log(1 / 6) - 1]
    )


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")], [[1.0], [2.0]]])
def test_bad_calibration_scores_are_refused(scores):
    with pytest.raises(DataError, match="calibration scores"):
        RankMap.fit(torch.tensor(scores))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("inf")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(DataError, match="weights"):
        RankMap.fit(torch.tensor([1.0, 2.0]), weights=torch.tensor(weights))


def test_unknown_groups_are_refused():
    scores = torch.tensor([1.0, 2.0])
    with pytest.raises(DataError, match="groups"):
        GroupedMap.fit(scores, torch.tensor([0, 2]), 2)
    fitted = GroupedMap.fit(scores, torch.tensor([0, 1]), 2)
    with pytest.raises(DataError, match="groups"):
        fitted.p_values(scores, torch.tensor([0, -1]))
