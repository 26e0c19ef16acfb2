"""Operations that stand for others give what those give."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.deployment.onnx_ops import cat, gather, scatter


@given(st.integers(0, 2**20), st.integers(0, 1), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_they_equal_those_of_torch(seed, dim, num):
    torch.manual_seed(seed)
    rows = torch.randn(4, 5)
    shape = [4, 5]
    shape[dim] = num
    index = torch.randint(0, rows.shape[dim], shape)
    assert torch.equal(gather(rows, dim, index), torch.gather(rows, dim, index))
    assert torch.equal(scatter(rows, dim, index, 2.5), torch.scatter(rows, dim, index, 2.5))
    others = [torch.randn(shape), rows, torch.randn(shape)]
    assert torch.equal(cat(others, dim), torch.cat(others, dim))
    assert cat(others[:1], dim) is others[0]


def test_infinite_numbers_stay_where_they_are():
    rows = torch.tensor([[1.0, torch.inf, -torch.inf]])
    assert gather(rows, 1, torch.tensor([[0, 2]])).tolist() == [[1.0, -torch.inf]]
    assert cat([rows, rows], 1).tolist() == [rows[0].tolist() * 2]
