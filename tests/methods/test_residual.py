import numpy as np
import pytest
import torch
from reference.residual import residual as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.residual import Config, Residual


def made(rng, num_rows=60, dim=10, num_classes=4):
    labels = rng.integers(num_classes, size=num_rows)
    spread = np.linspace(3, 0.2, dim)
    train = (rng.normal(size=(num_rows, dim)) * spread + labels[:, None]).astype(np.float32)
    weight = rng.normal(size=(num_classes, dim)).astype(np.float32)
    bias = rng.normal(size=num_classes).astype(np.float32)
    rows = (3 * rng.normal(size=(12, dim))).astype(np.float32)
    return train, labels, weight, bias, rows


def inputs_of(train, labels, weight, bias):
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    return FitInputs.of(torch.tensor(train), torch.tensor(labels), head=head)


@pytest.mark.parametrize("dim", [1, 4, 9])
def test_textbook(rng, dim):
    *learned, rows = made(rng)
    detector = Residual(Config(dim=dim)).fit(inputs_of(*learned))
    train, _, weight, bias = learned
    expected = reference(rows, train, weight, bias, dim)
    got = detector.score(FeatureBatch.of(torch.tensor(rows)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert detector.derived() == {"dim": dim}


def test_rows_of_the_training_subspace_score_zero(rng):
    basis = rng.normal(size=(3, 10))
    train = (rng.normal(size=(40, 3)) @ basis).astype(np.float32)
    _, _, weight, _, _ = made(rng)
    inputs = inputs_of(train, np.zeros(40, np.int64), weight, np.zeros(4, np.float32))
    detector = Residual(Config(dim=3)).fit(inputs)
    inside = torch.tensor((5 * rng.normal(size=(4, 3)) @ basis).astype(np.float32))
    torch.testing.assert_close(
        detector.score(FeatureBatch.of(inside)), torch.zeros(4), atol=1e-4, rtol=0
    )


def test_another_dimension_reuses_the_directions(rng, monkeypatch):
    *learned, rows = made(rng)
    inputs = inputs_of(*learned)
    Residual(Config(dim=3)).fit(inputs)
    monkeypatch.delattr(torch.linalg, "eigh")
    got = Residual(Config(dim=5)).fit(inputs).score(FeatureBatch.of(torch.tensor(rows)))
    train, _, weight, bias = learned
    np.testing.assert_allclose(got, reference(rows, train, weight, bias, 5), rtol=1e-5)


def test_more_dimensions_than_rows(rng):
    *learned, rows = made(rng, num_rows=12, dim=512)
    detector = Residual().fit(inputs_of(*learned))
    # Twelve rows around the head's origin span twelve directions; auto takes half.
    assert detector.derived() == {"dim": 6}
    assert torch.isfinite(detector.score(FeatureBatch.of(torch.tensor(rows)))).all()


def test_directions_that_no_training_row_takes_are_not_principal(rng):
    *learned, rows = made(rng, num_rows=12, dim=60)
    train, labels, weight, bias = learned
    detector = Residual(Config(dim=40)).fit(inputs_of(*learned))
    assert detector.derived() == {"dim": 12}
    expected = detector.score(FeatureBatch.of(torch.tensor(rows)))
    order = rng.permutation(60)
    permuted = inputs_of(train[:, order], labels, weight[:, order], bias)
    got = (
        Residual(Config(dim=40)).fit(permuted).score(FeatureBatch.of(torch.tensor(rows[:, order])))
    )
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [0, -3, "all"])
def test_dim_is_a_number_or_auto(dim):
    with pytest.raises(ConfigError, match=r"methods.residual.dim is "):
        Config(dim=dim)


@pytest.mark.parametrize("dim", [10, 1000])
def test_dim_must_leave_a_residual_space(rng, dim):
    with pytest.raises(
        ConfigError, match=f"methods.residual.dim is {dim} but the features are 10 wide.*most 9"
    ):
        Residual(Config(dim=dim)).fit(inputs_of(*made(rng)[:-1]))


def test_lengths_whose_squares_float32_does_not_hold(rng):
    *learned, rows = made(rng)
    detector = Residual(Config(dim=4)).fit(inputs_of(*learned))
    rows = np.concatenate([rows, rows * np.float32(1e25)])
    train, _, weight, bias = learned
    got = detector.score(rows)
    np.testing.assert_allclose(got, reference(rows, train, weight, bias, 4), rtol=1e-5)
    assert np.array_equal(got[:12], detector.score(rows[:12]))
