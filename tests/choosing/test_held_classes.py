import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.choosing.held_classes import draws
from ltood.core.errors import DataError
from ltood.core.prior import ClassPrior


def drawn(counts, rows=None, shares=(0.1, 0.3), number=4, seed=0):
    groups = ClassPrior(np.array(counts)).groups()
    rows = np.full(len(counts), 20) if rows is None else np.array(rows)
    return draws(groups, rows, shares, number, seed)


LONG_TAIL = [500 >> place for place in range(10)]


def test_shares_take_turns_and_every_class_is_held_out_or_kept():
    found = drawn(LONG_TAIL)
    assert [len(draw.held_out) for draw in found] == [1, 3, 1, 3]
    for draw in found:
        assert sorted((*draw.held_out, *draw.kept)) == list(range(10))
        assert list(draw.kept) == sorted(draw.kept)


def test_each_draw_holds_many_medium_and_few_in_proportion():
    groups = ClassPrior(np.array(LONG_TAIL)).groups()
    for draw in drawn(LONG_TAIL, shares=(0.4,), number=20):
        held_out = list(draw.held_out)
        for group in set(groups):
            assert abs((groups[held_out] == group).sum() - 0.4 * (groups == group).sum()) < 1


def test_every_class_is_drawn_equally_often():
    held = [place for draw in drawn([100] * 10, number=2000) for place in draw.held_out]
    # 2 classes a draw on average, so 400 of each, with a standard deviation of 18.
    assert np.abs(np.bincount(held) - 400).max() < 5 * 18


def test_the_seed_decides():
    assert drawn(LONG_TAIL, seed=3) == drawn(LONG_TAIL, seed=3)
    assert drawn(LONG_TAIL, seed=3, number=8) != drawn(LONG_TAIL, seed=4, number=8)


def test_more_draws_keep_the_first_ones():
    assert drawn(LONG_TAIL, number=8)[:3] == drawn(LONG_TAIL, number=3)


def test_classes_with_few_held_out_rows_are_drawn_only_where_there_are_no_others():
    rows = [30, 30, 30, 2, 0]
    found = drawn([5] * 5, rows, shares=(0.2,), number=30)
    assert {place for draw in found for place in draw.held_out} == {0, 1, 2}
    scarce = drawn([5] * 5, [3, 2, 0, 0, 1], shares=(0.4,), number=30)
    assert {place for draw in scarce for place in draw.held_out} == {0, 1}


@given(
    counts=st.lists(st.integers(1, 1000), min_size=3, max_size=40),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63 - 1),
)
def test_two_classes_remain_whatever_is_asked(counts, share, seed):
    for draw in drawn(counts, shares=(share,), seed=seed, number=2):
        assert len(draw.kept) >= 2
        assert len(draw.held_out) >= 1
        assert not set(draw.kept) & set(draw.held_out)


def test_three_classes_are_enough_and_two_are_not():
    assert len(drawn([5, 5, 5])[0].held_out) == 1
    with pytest.raises(DataError, match="2 classes"):
        drawn([5, 5])


@pytest.mark.parametrize("rows", [[0, 0, 0], [0, 40, 0]])
def test_held_out_rows_of_two_classes_are_needed(rows):
    with pytest.raises(DataError, match="val"):
        drawn([5, 5, 5], rows=rows)


@given(
    rows=st.lists(st.integers(0, 15), min_size=3, max_size=12).filter(
        lambda rows: sum(num > 0 for num in rows) >= 2
    ),
    share=st.floats(0.01, 0.99),
)
def test_held_out_rows_are_on_both_sides_of_every_draw(rows, share):
    for draw in drawn([5] * len(rows), rows, shares=(share,), number=2):
        assert all(rows[place] for place in draw.held_out)
        assert any(rows[place] for place in draw.kept)
