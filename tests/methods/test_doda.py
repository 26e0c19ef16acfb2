import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.doda import doda, published

from ltood.core.batches import FeatureBatch
from ltood.methods.doda import DODA


def make_logits(seed, rows, classes=3):
    return np.random.default_rng(seed).normal(size=(rows, classes)) * 4


@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 9),
    window=st.integers(1, 12),
    first=st.booleans(),
)
def test_it_equals_the_loops(seed, batch, window, first):
    rows = make_logits(seed, 17)
    batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    found = DODA(batch=batch, window=window, official_update_first=first).score(logits=rows)
    expected = doda([list(part) for part in batches], window, update_first=first)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_switch_gives_the_published_ranking_of_each_batch():
    rows = make_logits(1, 40)
    found = DODA(batch=20, window=20, official_update_first=True).score(logits=rows)
    for start in (0, 20):
        confidence = published(rows[start : start + 20].tolist())
        expected = -np.log(20 * confidence)
        np.testing.assert_allclose(found[start : start + 20], expected, atol=1e-5)


def test_one_batch_of_all_rows_does_not_depend_on_their_order():
    rows = torch.tensor(make_logits(2, 30))
    method, order = DODA(batch=30, window=30), torch.randperm(30)
    torch.testing.assert_close(
        method.score(logits=rows[order]), method.score(logits=rows)[order], rtol=1e-5, atol=1e-6
    )


def test_the_length_of_the_last_batch_does_not_shift_its_scores():
    rows = np.tile(make_logits(3, 10), (3, 1))[:25]
    found = DODA(batch=10, window=10, official_update_first=True).score(logits=rows)
    # The window of the last batch reaches back to the rows that it lacks.
    np.testing.assert_allclose(found[20:], found[:5], atol=1e-5)


def test_a_class_that_all_rows_are_taken_for_counts_less():
    crowd = np.tile([[8.0, 0.0]], (20, 1))
    found = DODA(batch=20, window=20).score(
        logits=np.concatenate([crowd, [[8.0, 0.0], [0.0, 8.0]]])
    )
    assert found[20] > found[21]


def test_equal_rows_tie_however_many_came_before():
    found = DODA(batch=1, window=9).score(logits=np.zeros((12, 4)))
    assert len(set(found.tolist())) == 1


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_large_logits_do_not_overflow(size):
    batch = FeatureBatch.of(logits=make_logits(4, 6) * size)
    assert torch.isfinite(DODA(batch=3).score(batch)).all()
