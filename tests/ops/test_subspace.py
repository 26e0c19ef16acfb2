import numpy as np
import pytest
import torch

from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.ops.subspace import Eigenbasis, eigenbasis, head_origin, principal_dim


def head_of(weight, bias):
    return ClassifierHead(
        torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)
    )


def test_the_origin_cancels_the_logits(rng):
    head = head_of(rng.normal(size=(4, 10)), rng.normal(size=4))
    logits = head.weight.double() @ head_origin(head) + head.bias.double()
    np.testing.assert_allclose(logits, 0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rounding_noise_of_the_head_does_not_move_the_origin(rng, scale):
    weight = scale * rng.normal(size=(8, 64))
    weight -= weight.mean(axis=0)
    head = head_of(weight, scale * rng.normal(size=8))
    exact = -np.linalg.pinv(weight, rcond=1e-10) @ head.bias.double().numpy()
    np.testing.assert_allclose(head_origin(head), exact, atol=1e-5)


def test_directions_diagonalise_the_second_moment(rng):
    train = rng.normal(size=(50, 6)) + 3
    head = head_of(rng.normal(size=(3, 6)), rng.normal(size=3))
    labels = torch.tensor(rng.integers(3, size=50))
    inputs = FitInputs.of(torch.tensor(train, dtype=torch.float32), labels, head=head)
    basis = eigenbasis(inputs)
    shifted = train - basis.origin.numpy()
    diagonal = basis.directions.T.numpy() @ (shifted.T @ shifted / 50) @ basis.directions.numpy()
    np.testing.assert_allclose(diagonal, np.diag(basis.values), atol=1e-5)
    assert (basis.values.diff() <= 0).all()
    assert basis.rank == 6
    assert eigenbasis(inputs) is basis


@pytest.mark.parametrize(
    ("width", "rank", "expected"),
    [
        (2048, 2048, 1000),
        (2048, 900, 450),
        (1024, 1024, 512),
        (768, 768, 512),
        (512, 512, 256),
        (64, 64, 32),
        (3, 3, 1),
        (1, 1, 0),
        (512, 0, 0),
    ],
)
def test_auto_follows_width_and_rank(width, rank, expected):
    values = torch.cat([torch.ones(rank), torch.zeros(width - rank)]).double()
    # The directions play no part in the choice.
    basis = Eigenbasis(values, values, values)
    assert basis.rank == rank
    assert principal_dim("auto", basis, "methods.vim.dim") == expected
