import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch
from ltood.metrics import METRICS, rank
from ltood.ops.screening import FEWEST_ROWS, error_aurocs, kept, wrong_rows


@given(st.integers(0, 99), st.integers(FEWEST_ROWS, 60), st.integers(FEWEST_ROWS, 60))
def test_it_is_the_auroc_with_ties(seed, wrong, right):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 9, (3, wrong + right), generator=generator).double()
    is_wrong = torch.zeros(wrong + right, dtype=torch.bool)
    is_wrong[torch.randperm(wrong + right, generator=generator)[:wrong]] = True
    expected = [
        METRICS["auroc"].function(rank(row[~is_wrong].numpy(), row[is_wrong].numpy()))
        for row in scores
    ]
    assert error_aurocs(scores, is_wrong).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("wrong", "right"), [(FEWEST_ROWS - 1, 50), (50, FEWEST_ROWS - 1), (0, 0)])
def test_few_rows_say_nothing(wrong, right):
    is_wrong = torch.arange(wrong + right) < wrong
    found = error_aurocs(torch.randn(2, wrong + right), is_wrong)
    assert found.isnan().all()
    assert kept(found, 0.6).all()


def test_those_at_the_limit_stay_and_all_where_none_does():
    aurocs = torch.tensor([0.6, 0.59, 0.9])
    assert kept(aurocs, 0.6).tolist() == [True, False, True]
    assert kept(aurocs, 0.95).tolist() == [True, True, True]
    assert kept(aurocs, 0.0).tolist() == [True, True, True]


def test_wrong_rows():
    arrays = {"logits": torch.eye(3)[[0, 1, 2, 2]], "labels": torch.tensor([0, 2, 2, -1])}
    assert wrong_rows(FeatureBatch(arrays)).tolist() == [0, 1, 0, -1]
    for name in arrays:
        assert wrong_rows(FeatureBatch({name: arrays[name]})).tolist() == [-1] * 4
