import pytest
import torch
from torch.nn.functional import normalize

from ltood.ops.lengths import lengths, unit


@pytest.mark.parametrize("shape", [(7, 33), (5, 4, 16), (0, 8), (3, 1)])
def test_usual_rows_are_normalised_as_torch_does(shape):
    rows = torch.randn(shape)
    assert torch.equal(unit(rows), normalize(rows, dim=-1))
    assert torch.equal(lengths(rows), torch.linalg.vector_norm(rows, dim=-1))


def test_zero_rows_stay_zero():
    assert torch.equal(unit(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("scale", [1.0, 2.0**64, 2.0**100, 2.0**120])
def test_directions_do_not_change_with_the_unit(scale):
    rows = torch.tensor([[3.0, 4.0], [0.0, -2.0], [1.0, 1.0]])
    torch.testing.assert_close(lengths(rows * scale), torch.tensor([5.0, 2.0, 2**0.5]) * scale)
    expected = torch.tensor([[0.6, 0.8], [0.0, -1.0], [0.5**0.5, 0.5**0.5]])
    torch.testing.assert_close(unit(rows * scale), expected)


def test_a_long_row_leaves_its_neighbours_alone():
    rows = torch.randn(6, 9)
    mixed = rows.clone()
    mixed[2] *= 1e30
    torch.testing.assert_close(unit(mixed)[2], unit(rows)[2])
    others = [0, 1, 3, 4, 5]
    assert torch.equal(unit(mixed)[others], unit(rows)[others])
