import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.metrics._ranking import rank, redraw

ID, OOD = [1.0, 2.0, 2.0, 3.0, 4.0], [2.0, 4.0, 4.0, 5.0]


def test_counts_at_distinct_scores():
    ranking = rank(ID, OOD)
    assert ranking.thresholds.tolist() == [5, 4, 3, 2, 1]
    assert ranking.id_counts.tolist() == [0, 1, 1, 2, 1]
    assert ranking.ood_counts.tolist() == [1, 2, 0, 1, 0]
    assert (ranking.num_id, ranking.num_ood) == (5, 4)


def test_sweeps_of_both_sides():
    ranking = rank(ID, OOD)
    ood = ranking.sweep("ood")
    assert ood.thresholds.tolist() == [5, 4, 3, 2, 1]
    assert ood.hits.tolist() == [1, 3, 3, 4, 4]
    assert ood.false_alarms.tolist() == [0, 1, 2, 4, 5]
    inside = ranking.sweep("id")
    assert inside.thresholds.tolist() == [1, 2, 3, 4, 5]
    assert inside.hits.tolist() == [1, 3, 4, 5, 5]
    assert inside.false_alarms.tolist() == [0, 1, 1, 3, 4]


def test_levels_point_back_at_the_scores(rng):
    scores = rng.integers(0, 9, 50).astype(np.float32)
    ranking = rank(scores, scores[:7] + 0.5)
    assert (ranking.thresholds[ranking.levels(scores)] == scores).all()


def test_a_redraw_keeps_the_number_of_rows_and_their_levels(rng):
    levels = np.array([0, 0, 3, 3, 3])
    counts = redraw(levels, 5, rng)
    assert counts.sum() == 5
    assert counts[[1, 2, 4]].tolist() == [0, 0, 0]
    assert redraw(levels[:0], 5, rng).tolist() == [0] * 5


def test_float32_and_float64_mix_without_new_ties():
    ranking = rank(np.array([0.1], np.float32), np.array([0.1], np.float64))
    assert len(ranking.thresholds) == 2


def test_signed_zeros_are_one_score():
    assert len(rank([0.0], [-0.0]).thresholds) == 1


@pytest.mark.parametrize(
    ("id_scores", "ood_scores", "sentence"),
    [
        ([[1.0]], [1.0], r"id_scores has shape \(1, 1\)"),
        ([1.0], [], "ood_scores is empty"),
        ([], [1.0], "id_scores is empty"),
        (np.ones(2, np.float16), [1.0], "id_scores is float16; give float32 or wider"),
        ([1.0], [1], "ood_scores is int64; give float32 or wider"),
        ([1.0, np.nan, np.nan], [1.0], r"id_scores has 2 of 3 rows that are NaN.*row 1, nan"),
        ([1.0], [1.0, np.inf], r"ood_scores has 1 of 2 rows .*row 1, inf"),
        ([1.0], [-np.inf, 1.0], r"ood_scores has 1 of 2 rows .*row 0, -inf"),
    ],
)
def test_scores_that_have_no_rank(id_scores, ood_scores, sentence):
    with pytest.raises(DataError, match=sentence):
        rank(id_scores, ood_scores)


def test_a_wrong_side():
    with pytest.raises(ConfigError, match="positive is 'in'; say which side"):
        rank(ID, OOD).sweep("in")
