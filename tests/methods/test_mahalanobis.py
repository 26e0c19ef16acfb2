import numpy as np
import pytest
import torch
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods.mahalanobis import Config, Mahalanobis


def scored(train, labels, rows, num_classes, **settings):
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), num_classes=num_classes)
    detector = Mahalanobis(Config(**settings)).fit(inputs)
    return detector.score(FeatureBatch.of(torch.tensor(rows))).numpy()


def made(rng, counts, dim, rows=12):
    labels = np.repeat(np.arange(len(counts)), counts)
    train = (rng.normal(size=(len(labels), dim)) + labels[:, None]).astype(np.float32)
    return train, labels, (3 * rng.normal(size=(rows, dim))).astype(np.float32)


def test_golden_of_himplos(himplos_golden):
    g = himplos_golden
    for prefix in ("", "ood_"):
        got = scored(g["train_features"], g["train_labels"], g[f"{prefix}features"], len(g["b"]))
        # Theirs is minus half of the squared distance, larger for ID.
        np.testing.assert_allclose(got, -2 * g[f"{prefix}mahalanobis_raw"], rtol=1e-4)


@pytest.mark.parametrize("split", ["id", "ood"])
def test_golden_of_imood(imood_golden, split):
    g, limit = imood_golden, 60
    # Their pool holds the last 60 rows of each class at most.
    kept = [np.flatnonzero(g["pool_labels"] == c)[-limit:] for c in range(7)]
    rows = np.sort(np.concatenate(kept))
    got = scored(g["pool_feats"][rows], g["pool_labels"][rows], g[f"{split}_feats"], 7, ridge=1e-4)
    np.testing.assert_allclose(got, g[f"f64_maha_mindist_{split}"], rtol=1e-4)


@pytest.mark.parametrize(
    ("counts", "dim", "settings"),
    [
        ((30, 20, 10), 8, {}),
        ((30, 20, 10), 8, {"ridge": 0.5}),
        ((12, 1), 5, {}),  # two classes, one of a single row
        ((6, 4), 20, {}),  # more dimensions than rows
        ((30, 0, 10), 8, {}),  # a class without rows
    ],
)
def test_textbook(rng, counts, dim, settings):
    train, labels, rows = made(rng, counts, dim)
    expected = reference.mahalanobis(rows, train, labels, len(counts), **settings)
    got = scored(train, labels, rows, len(counts), **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_unit_features(rng, ridge):
    train, labels, rows = made(rng, (30, 20), 6)
    units = [np.stack([reference.unit(row) for row in part]) for part in (rows, train)]
    expected = reference.mahalanobis(*units, labels, 2, ridge)
    settings = {"normalise": True, "ridge": ridge}
    got = scored(train, labels, rows, 2, **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    np.testing.assert_allclose(scored(train, labels, 7 * rows, 2, **settings), got, rtol=1e-4)


def test_duplicated_rows_change_nothing(rng):
    train, labels, rows = made(rng, (30, 20), 6)
    twice = scored(np.repeat(train, 2, axis=0), np.repeat(labels, 2), rows, 2)
    np.testing.assert_allclose(twice, scored(train, labels, rows, 2), rtol=1e-5)


def test_scale_of_the_features_does_not_matter(rng):
    # An absolute cut-off would drop directions of small features.
    train, labels, rows = made(rng, (30, 20), 6)
    small = scored(train * 1e-5, labels, rows * 1e-5, 2)
    np.testing.assert_allclose(small, scored(train, labels, rows, 2), rtol=1e-4)


def test_a_dead_direction_is_ignored(rng):
    train, labels, rows = made(rng, (30, 20), 6)
    dead = [
        np.concatenate([part, 0 * part[:, :1] + c], axis=1) for part, c in ((train, 1), (rows, 5))
    ]
    np.testing.assert_allclose(
        scored(dead[0], labels, dead[1], 2), scored(train, labels, rows, 2), rtol=1e-5
    )


def test_features_must_vary():
    with pytest.raises(DataError, match="do not vary within their classes"):
        scored(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), np.ones((1, 3), np.float32), 2)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
def test_ridge_must_not_be_negative(ridge):
    with pytest.raises(ConfigError, match=r"methods.mahalanobis.ridge is "):
        Config(ridge=ridge)
