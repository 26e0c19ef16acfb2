import numpy as np
import pytest
import torch
from reference.vim import vim as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.vim import Config, ViM


def made(rng, num_rows=60, dim=10, num_classes=4):
    labels = rng.integers(num_classes, size=num_rows)
    spread = np.linspace(3, 0.2, dim)
    train = (rng.normal(size=(num_rows, dim)) * spread + labels[:, None]).astype(np.float32)
    weight = rng.normal(size=(num_classes, dim)).astype(np.float32)
    bias = rng.normal(size=num_classes).astype(np.float32)
    rows = rng.normal(size=(12, dim)).astype(np.float32)
    return train, labels, weight, bias, rows


def fitted(train, labels, weight, bias, **settings):
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), head=head)
    return ViM(Config(**settings)).fit(inputs), head


@pytest.mark.parametrize("dim", [1, 4, 9])
def test_textbook(rng, dim):
    *learned, rows = made(rng)
    detector, head = fitted(*learned, dim=dim)
    train, _, weight, bias = learned
    expected = reference(rows, train, weight, bias, dim)
    got = detector.score(FeatureBatch.of(torch.tensor(rows), head=head))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_wide_features_of_a_head_whose_rows_sum_to_zero(rng):
    train, labels, weight, bias, rows = made(rng, num_rows=300, dim=512, num_classes=8)
    weight -= weight.mean(axis=0)
    train[0] = rows[0] = 0
    detector, head = fitted(train, labels, weight, bias)
    assert detector.derived()["dim"] == 256
    assert detector.origin_.norm() < 1
    got = detector.score(FeatureBatch.of(torch.tensor(rows), head=head))
    np.testing.assert_allclose(got, reference(rows, train, weight, bias, 256), rtol=1e-4)


def test_it_orders_rows_as_the_probability_of_the_virtual_class(rng):
    *learned, rows = made(rng)
    detector, head = fitted(*learned, dim=4)
    batch = FeatureBatch.of(torch.tensor(rows), head=head)
    virtual = detector.scale_ * torch.linalg.vector_norm(
        (batch.features - detector.origin_) @ detector.residual_basis_, dim=1
    )
    joined = torch.cat([batch.logits, virtual[:, None]], dim=1).double()
    probability = torch.softmax(joined, dim=1)[:, -1]
    torch.testing.assert_close(torch.sigmoid(detector.score(batch).double()), probability)


def test_one_row_far_off_is_the_virtual_class(rng):
    detector, head = fitted(*made(rng)[:-1], dim=9)
    # Where the probability has long been 1 in float32, the score still grows.
    far = detector.residual_basis_.T.float() * torch.tensor([[1e3], [1e4]])
    near, farther = detector.score(FeatureBatch.of(far, torch.zeros(2, 4), head=head))
    assert 0 < near < farther


def test_directions_and_scale_are_found_once(rng, monkeypatch):
    train, labels, weight, bias, _ = made(rng)
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), head=head)
    first = ViM(Config(dim=3)).fit(inputs)
    monkeypatch.delattr(torch.linalg, "eigh")
    assert ViM(Config(dim=3)).fit(inputs).scale_ is first.scale_
    assert ViM(Config(dim=4)).fit(inputs).scale_ > first.scale_


def test_a_principal_subspace_of_all_training_rows_is_refused(rng):
    learned = made(rng, num_rows=6)[:-1]
    with pytest.raises(DataError, match=r"vim's principal subspace of 7 .* which span 6, so"):
        fitted(*learned, dim=7)


@pytest.mark.parametrize("dim", [0, -3, "all"])
def test_dim_is_a_number_or_auto(dim):
    with pytest.raises(ConfigError, match=r"methods.vim.dim is "):
        Config(dim=dim)


@pytest.mark.parametrize("dim", [10, 1000])
def test_dim_must_leave_a_residual_space(rng, dim):
    with pytest.raises(
        ConfigError, match=f"methods.vim.dim is {dim} but the features are 10 wide.*most 9"
    ):
        fitted(*made(rng)[:-1], dim=dim)


def test_lengths_whose_squares_float32_does_not_hold(rng):
    *learned, rows = made(rng)
    detector, _ = fitted(*learned, dim=4)
    rows = rows * np.float32(1e25)
    train, _, weight, bias = learned
    expected = reference(rows, train, weight, bias, 4)
    np.testing.assert_allclose(detector.score(rows), expected, rtol=1e-4)
