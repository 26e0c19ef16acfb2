"""How processes that share rows meet, played by threads."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.crew import ALONE, Part, numbered_batches
from ltood.core.errors import DataError, LtoodError
from ltood.runtime.distributed import LostRankError
from tests.crew_samples import run_crew

ROW = FeatureBatch.of([[0.0]])


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 7))
def test_parts_hold_every_batch_once_and_in_order(total, step, count):
    parts = [Part(number, count) for number in range(count)]
    starts = []
    for part in parts:
        first, end = part.bounds(total, step)
        own = list(range(first, end, step))
        assert own == [start for start in range(0, total, step) if part.cut(ROW, start, total)]
        starts += own
    assert starts == list(range(0, total, step))


def test_any_source_can_be_read_in_parts():
    rows = torch.arange(50.0)[:, None]
    source = TensorSource(FeatureBatch.of(rows), 1)
    found = [list(numbered_batches(source, Part(n, 3), ("features",), 8)) for n in range(3)]
    assert [start for part in found for start, _ in part] == list(range(0, 50, 8))
    assert torch.equal(torch.cat([b.features for part in found for _, b in part]), rows)


def test_sums_and_rows_of_all():
    def work(crew):
        own = crew.part.number
        made = None if own == 1 else (torch.full((2,), own + 1), torch.ones(own, 3))
        return crew.agreed(
            lambda: (crew.summed(lambda: made and made[:1]), crew.joined(lambda: made and made[1:]))
        )

    for summed, joined in run_crew(3, work):
        assert summed[0].tolist() == [4, 4]
        assert joined[0].shape == (2, 3)
    assert run_crew(2, lambda crew: crew.summed(lambda: None)) == [None, None]
    assert ALONE.summed(lambda: None) is None


def test_what_all_collect_lies_with_the_first_in_order():
    found = run_crew(3, lambda crew: list(crew.collected(range(crew.part.number + 1))))
    assert found == [[0, 0, 1, 0, 1, 2], [], []]


class OwnError(LtoodError):
    """It takes more than its sentence."""

    def __init__(self, row, column):
        super().__init__(f"bad row {row}, {column}")


@pytest.mark.parametrize(
    "error", [DataError("bad row"), ZeroDivisionError("bad row"), OwnError(1, 2)]
)
@pytest.mark.parametrize("when", ["before", "within", "behind"])
def test_what_fails_for_one_fails_for_all(error, when):
    def fails(crew):
        if crew.part.number == 1:
            raise error

    def learn(crew):
        if when == "before":
            fails(crew)
        crew.summed(lambda: fails(crew) if when == "within" else None)
        if when == "behind":
            fails(crew)

    def work(crew):
        try:
            crew.agreed(lambda: learn(crew))
        except Exception as found:
            # Nobody waits: all can go on together.
            return found, crew.told(crew.part.number)
        raise AssertionError("nothing failed")

    found = run_crew(3, work)
    assert [told for _, told in found] == [[0, 1, 2]] * 3
    assert found[1][0] is error
    assert all(isinstance(other, LtoodError) and "bad row" in str(other) for other, _ in found[::2])
    for other, _ in found[::2]:
        pickle.loads(pickle.dumps(other))


def test_processes_that_go_different_ways_stop():
    def work(crew):
        return crew.told(1) if crew.part.number else crew.summed(lambda: None)

    assert all(isinstance(error, LostRankError) for error in run_crew(2, work))

    def other_forms(crew):
        return crew.summed(lambda: (torch.zeros(crew.part.number + 1),))

    assert all(isinstance(error, LostRankError) for error in run_crew(2, other_forms))


def test_an_end_without_a_word_stops_the_others():
    def work(crew):
        if crew.part.number == 0:
            raise KeyboardInterrupt
        return crew.agreed(lambda: crew.summed(lambda: None))

    first, second = run_crew(2, work)
    assert isinstance(first, KeyboardInterrupt)
    assert isinstance(second, LostRankError)
