import numpy as np
import pytest
import torch
from reference.relative_mahalanobis import relative_mahalanobis as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods.mahalanobis import Mahalanobis
from ltood.methods.relative_mahalanobis import Config, RelativeMahalanobis


def scored(train, labels, rows, num_classes, **settings):
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), num_classes=num_classes)
    detector = RelativeMahalanobis(Config(**settings)).fit(inputs)
    return detector.score(FeatureBatch.of(torch.tensor(rows))).numpy()


def made(rng, counts, dim, rows=12):
    labels = np.repeat(np.arange(len(counts)), counts)
    train = (rng.normal(size=(len(labels), dim)) + labels[:, None]).astype(np.float32)
    return train, labels, (3 * rng.normal(size=(rows, dim))).astype(np.float32)


@pytest.mark.parametrize(
    ("counts", "dim", "settings"),
    [
        ((30, 20, 10), 8, {}),
        ((30, 20, 10), 8, {"ridge": 0.5}),
        ((30, 20, 10), 8, {"normalise": True}),
        ((12, 1), 5, {}),  # two classes, one of a single row
        ((6, 4), 20, {}),  # more dimensions than rows
        ((30, 0, 10), 8, {}),  # a class without rows
    ],
)
def test_textbook(rng, counts, dim, settings):
    train, labels, rows = made(rng, counts, dim)
    expected = reference(rows, train, labels, len(counts), **settings)
    got = scored(train, labels, rows, len(counts), **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_one_class_alone_is_its_own_background(rng):
    train, labels, rows = made(rng, (30,), 5)
    np.testing.assert_allclose(scored(train, labels, rows, 1), 0, atol=1e-6)


def test_a_direction_that_no_class_owns_cancels(rng):
    # Far out along a direction that all classes share, both distances grow alike.
    labels = np.repeat([0, 1], 5000)
    train = rng.normal(size=(10000, 2)).astype(np.float32)
    train[:, 0] += 20 * labels
    steps = np.array([[0, 0], [0, 30]], np.float32)
    near, far = scored(train, labels, steps, 2)
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels))
    plain = Mahalanobis().fit(inputs).score(FeatureBatch.of(torch.tensor(steps)))
    assert plain[1] - plain[0] > 800
    assert abs(far - near) < 10


def test_wide_features_with_zero_rows(rng):
    train, labels, rows = made(rng, (30, 0, 12, 1), 512)
    train[3], rows[0] = 0, 0
    for normalise in (False, True):
        assert np.isfinite(scored(train, labels, rows, 4, normalise=normalise)).all()


def test_features_must_vary():
    with pytest.raises(DataError, match="do not vary within their classes"):
        scored(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), np.ones((1, 3), np.float32), 2)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
def test_ridge_must_not_be_negative(ridge):
    with pytest.raises(ConfigError, match=r"methods.relative_mahalanobis.ridge is "):
        Config(ridge=ridge)


def test_many_dimensions_take_the_short_way_with_the_same_scores(rng):
    train, labels, rows = made(rng, (30, 25, 20), 12)
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels))
    short = RelativeMahalanobis().fit(inputs)
    assert "directions_" in short.state()
    got = short.score(FeatureBatch.of(torch.tensor(rows))).numpy()
    np.testing.assert_allclose(got, reference(rows, train, labels, 3), rtol=1e-5, atol=1e-5)
    long = RelativeMahalanobis().fit(FitInputs.of(torch.tensor(train[:, :4]), torch.tensor(labels)))
    assert "directions_" not in long.state()


def test_classes_far_apart_lose_no_digits(rng):
    train, labels, rows = made(rng, (30, 25, 20), 12)
    far = (train + 1000 * labels[:, None] * np.linspace(-1, 1, 12)).astype(np.float32)
    rows = (far[::9] + rng.normal(size=(9, 12))).astype(np.float32)
    expected = reference(rows, far, labels, 3)
    np.testing.assert_allclose(scored(far, labels, rows, 3), expected, rtol=1e-4, atol=1e-4)
