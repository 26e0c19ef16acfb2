import numpy as np
import pytest
import torch
from reference.class_gaussian import class_gaussian as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods import class_gaussian
from ltood.methods.class_gaussian import ClassGaussian, Config
from ltood.methods.mahalanobis import Mahalanobis


def scored(train, labels, rows, num_classes, **settings):
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), num_classes=num_classes)
    detector = ClassGaussian(Config(**settings)).fit(inputs)
    return detector.score(FeatureBatch.of(torch.tensor(rows))).numpy()


def made(rng, counts, dim, rows=12):
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    spread = 1 + np.arange(dim) * labels[:, None] / dim
    train = (rng.normal(size=(len(labels), dim)) * spread + labels[:, None]).astype(np.float32)
    return train, labels, (3 * rng.normal(size=(rows, dim))).astype(np.float32)


@pytest.mark.parametrize(
    ("counts", "settings"),
    [
        ((30, 20, 10), {}),
        ((30, 20, 10), {"shrinkage": 0.01}),
        ((30, 20, 10), {"shrinkage": 1.0}),
        ((30, 20, 10), {"normalise": True}),
        ((8, 9, 5), {}),  # as many rows as dimensions, one more, fewer
        ((30, 1, 2), {"shrinkage": 0.1}),  # classes of one and of two rows
        ((30, 3, 4, 1), {}),  # classes with a triangular factor and others beside one another
        ((30, 20, 10), {"shrinkage": 1e-7}),  # too little of the shared one for a factor
        ((30, 0, 10), {}),  # a class without rows
    ],
)
def test_textbook(rng, counts, settings):
    train, labels, rows = made(rng, counts, 8)
    expected = reference(rows, train, labels, len(counts), **settings)
    got = scored(train, labels, rows, len(counts), **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_full_shrinkage_is_the_mahalanobis_distance(rng):
    train, labels, rows = made(rng, (6, 4), 20)  # more dimensions than rows
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels))
    batch = FeatureBatch.of(torch.tensor(rows))
    expected = Mahalanobis().fit(inputs).score(batch)
    got = ClassGaussian(Config(shrinkage=1.0)).fit(inputs).score(batch)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_wide_class_takes_what_a_narrow_one_refuses(rng):
    labels = np.repeat([0, 1], 500)
    train = (rng.normal(size=(1000, 2)) * np.where(labels, 5, 0.2)[:, None]).astype(np.float32)
    train[:, 0] += 20 * labels
    # Five units from either mean: far for the narrow class, near for the wide one.
    narrow, wide = scored(train, labels, np.array([[-5, 0], [25, 0]], np.float32), 2)
    assert narrow > wide + 10


def test_groups_and_chunks_do_not_matter(rng, monkeypatch):
    train, labels, rows = made(rng, (30, 0, 10, 1, 5), 8)
    expected = scored(train, labels, rows, 5)
    monkeypatch.setattr(class_gaussian, "FIT_VALUES", 100)
    monkeypatch.setattr(class_gaussian, "GROUP_AXES", 6)
    monkeypatch.setattr(class_gaussian, "WIDE_ROWS", 5)
    monkeypatch.setattr(class_gaussian, "BLOCKS", 2)
    np.testing.assert_allclose(scored(train, labels, rows, 5), expected, rtol=1e-6)


def test_wide_features_with_zero_rows(rng):
    train, labels, rows = made(rng, (30, 0, 12, 1), 512)
    train[3], rows[0] = 0, 0
    for normalise in (False, True):
        assert np.isfinite(scored(train, labels, rows, 4, normalise=normalise)).all()


def test_a_class_of_equal_rows(rng):
    train, labels, rows = made(rng, (30, 6), 8)
    train[labels == 1] = train[labels == 1][0]
    expected = reference(rows, train, labels, 2)
    np.testing.assert_allclose(scored(train, labels, rows, 2), expected, rtol=1e-4)


def test_what_is_learned_is_no_larger_than_the_training_features(rng):
    train, labels, _ = made(rng, (40, 3, 1), 8)
    detector = ClassGaussian().fit(FitInputs.of(torch.tensor(train), torch.tensor(labels)))
    assert detector.sizes_.tolist() == [2, 0]


def test_no_rows_give_no_scores(rng):
    train, labels, rows = made(rng, (30, 20), 8)
    assert scored(train, labels, rows[:0], 2).shape == (0,)


def test_features_must_vary():
    with pytest.raises(DataError, match="do not vary within their classes"):
        scored(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), np.ones((1, 3), np.float32), 2)


@pytest.mark.parametrize("shrinkage", [0.0, -1.0, 1.5, float("nan"), "lots"])
def test_shrinkage_is_a_share_or_auto(shrinkage):
    with pytest.raises(ConfigError, match=r"methods.class_gaussian.shrinkage is "):
        Config(shrinkage=shrinkage)
