"""Operations that stand for others give what those give."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.deployment.onnx_graph import _Replay
from ltood.deployment.onnx_ops import bucketize, cat, cdist, gather, scatter


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


@given(st.integers(0, 2**20), st.booleans())
@settings(deadline=None, max_examples=30)
def test_those_without_a_counterpart_equal_those_of_torch(seed, right):
    torch.manual_seed(seed)
    rows, others = torch.randn(4, 5).double(), torch.randn(6, 5).double()
    edges = torch.cat([rows[0], others[0]]).sort().values
    wanted = torch.bucketize(rows, edges, right=right)
    assert torch.equal(bucketize(rows, edges, right=right), wanted)
    exact = "donot_use_mm_for_euclid_dist"
    torch.testing.assert_close(cdist(rows, others), torch.cdist(rows, others, compute_mode=exact))
    places = torch.stack([torch.randperm(5)[:3] for _ in rows])
    numbers = torch.randn(4, 3).double()
    wanted = torch.scatter(rows, 1, places, numbers)
    assert torch.equal(scatter(rows, 1, places, numbers), wanted)


def test_in_place_operations_change_their_tensor():
    rows, other = torch.tensor([[-2.0, 3.0]]), torch.tensor([1.0, 0.5])
    with _Replay([]):
        found = rows.sub_(other).square_().clamp_(min=0, max=8)
    assert found is rows
    assert rows.tolist() == [[8.0, 6.25]]


def test_noted_numbers_are_checked_in_their_own_precision():
    third = torch.tensor([1 / 3], dtype=torch.float64)
    with _Replay([("tolist", [1 / 3]), ("item", 1 / 3)]) as replayed:
        assert third.tolist() == [1 / 3]
        assert (third + 1e-9).item() == 1 / 3
    assert [bool(check) for check in replayed.checks] == [True, False]


def test_infinite_numbers_stay_where_they_are():
    rows = torch.tensor([[1.0, torch.inf, -torch.inf]])
    assert gather(rows, 1, torch.tensor([[0, 2]])).tolist() == [[1.0, -torch.inf]]
    assert cat([rows, rows], 1).tolist() == [rows[0].tolist() * 2]
