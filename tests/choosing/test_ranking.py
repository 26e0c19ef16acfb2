import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ltood.choosing.ranking import ranks, standing


def slow_ranks(aurocs):
    rounded = np.round(aurocs, 3)
    better = (rounded[..., None, :] > rounded[..., :, None]).sum(axis=-1)
    equal = (rounded[..., None, :] == rounded[..., :, None]).sum(axis=-1)
    return 1 + better + (equal - 1) / 2


@given(hnp.arrays(np.float64, (3, 2, 5), elements=st.sampled_from([0.5, 0.5001, 0.7, 0.9, 1.0])))
def test_ranks_count_the_better_ones_and_share_ties(aurocs):
    np.testing.assert_allclose(ranks(aurocs), slow_ranks(aurocs))


def test_mean_ranks_weigh_kinds_and_errors_come_from_draws():
    # Two draws, two kinds, three candidates.
    aurocs = np.array([[[0.9, 0.8, 0.7], [0.7, 0.8, 0.9]], [[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]]])
    found = standing(aurocs, [3, 1], [1, 1, 1])
    np.testing.assert_allclose(found.mean_rank, [(1.5 + 1) / 2, 2, (2.5 + 3) / 2])
    np.testing.assert_allclose(found.error, [0.25, 0, 0.25])
    assert (found.best, found.chosen) == (0, 0)


def test_the_cheapest_within_one_standard_error_is_chosen():
    aurocs = np.array([[[0.9, 0.8, 0.1]]] * 3 + [[[0.8, 0.9, 0.1]]] * 2)
    # Mean ranks 1.4, 1.6 and 3; the error of the best is 0.245.
    assert standing(aurocs, [1], [2, 1, 0]).chosen == 1
    assert standing(aurocs, [1], [1, 1, 0]).chosen == 0
    assert standing(aurocs, [1], [1, 2, 0]).chosen == 0


def test_one_draw_has_no_error_and_the_best_is_chosen():
    found = standing(np.array([[[0.9, 0.8]]]), [1], [2, 0])
    assert found.error.tolist() == [0, 0]
    assert found.chosen == 0


def test_of_equals_the_first_is_chosen():
    assert standing(np.full((3, 2, 4), 0.9), [1, 1], [1, 1, 1, 1]).chosen == 0


@pytest.mark.parametrize("better", [0.9004, 0.9])
def test_what_differs_by_less_than_a_tenth_of_a_point_is_a_tie(better):
    assert ranks(np.array([[[better, 0.9]]])).tolist() == [[[1.5, 1.5]]]


@given(
    hnp.arrays(np.float64, (4, 3, 5), elements=st.sampled_from([0.5, 0.7, 0.9])),
    hnp.arrays(bool, (4, 2)),
)
def test_a_kind_without_rows_in_a_draw_does_not_count_there(aurocs, is_absent):
    aurocs[:, 1:][is_absent] = np.nan
    weights = [3.0, 1.0, 2.0]
    slow = []
    for draw in aurocs:
        there = [kind for kind in range(3) if not np.isnan(draw[kind]).any()]
        own = slow_ranks(draw[there])
        slow.append(np.average(own, axis=0, weights=[weights[kind] for kind in there]))
    np.testing.assert_allclose(standing(aurocs, weights, [1] * 5).mean_rank, np.mean(slow, axis=0))
