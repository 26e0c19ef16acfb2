import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import DataError
from ltood.ops.blas import add_gram, inverse_lower, symmetric, symmetric_eigen, times_upper


def normal(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("num", [0, 1, 7, 300])
def test_gram_matrices_add_up_in_place(num):
    first, second = normal(5, 9), normal(num, 9, seed=1)
    scatter = torch.zeros(9, 9, dtype=torch.float64)
    for rows in (first, second):
        add_gram(scatter, rows)
    expected = first.T @ first + second.T @ second
    torch.testing.assert_close(symmetric(scatter), expected)


def test_rows_need_not_be_contiguous():
    rows = normal(9, 6).T
    scatter = torch.zeros(9, 9, dtype=torch.float64)
    add_gram(scatter, rows)
    torch.testing.assert_close(symmetric(scatter), rows.T @ rows)
    upper = normal(9, 9, seed=2).triu()
    torch.testing.assert_close(times_upper(rows, upper), rows @ upper)


@pytest.mark.parametrize("num", [1, 40])
def test_triangular_products_leave_their_input(num):
    rows, upper = normal(num, 7), normal(7, 7, seed=1).triu()
    before = rows.clone()
    torch.testing.assert_close(times_upper(rows, upper), rows @ upper)
    assert torch.equal(rows, before)


def test_gradients_pass_through_triangular_products():
    rows, upper = normal(4, 3).requires_grad_(), normal(3, 3, seed=1).triu()
    times_upper(rows, upper).sum().backward()
    torch.testing.assert_close(rows.grad, upper.sum(1).expand(4, 3))


@pytest.mark.parametrize("width", [1, 3, 5])
def test_rows_of_another_width_are_refused(width):
    with pytest.raises(DataError, match=rf"rows have {width} columns .* takes 4"):
        times_upper(torch.ones(6, width).double(), torch.eye(4).double())


@given(dim=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_lapack_agrees_with_torch(dim, seed):
    rows = torch.tensor(np.random.default_rng(seed).normal(size=(dim + 3, dim)))
    matrix = rows.T @ rows + torch.eye(dim)
    factor = torch.linalg.cholesky(matrix)
    inverse = inverse_lower(factor)
    assert torch.equal(inverse, inverse.tril())
    torch.testing.assert_close(inverse @ factor, torch.eye(dim).double(), rtol=0, atol=1e-9)
    values, vectors = symmetric_eigen(matrix)
    assert (values.diff() >= 0).all()
    torch.testing.assert_close(vectors * values @ vectors.T, matrix)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(dim).double())


def test_a_factor_with_a_zero_has_no_inverse():
    with pytest.raises(DataError):
        inverse_lower(torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64))
