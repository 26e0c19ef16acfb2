"""Another pooling of the last feature map is a feature store like any other."""

import numpy as np
import pytest

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.errors import ConfigError, MissingNeedError, StoreError
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.store.pooled import PooledStore, PoolingConfig, with_pooling, write_pooled
from ltood.store.verifying import verify_store

ROWS, DIM, PLACES = 60, 6, 9
HEAD = {"weight": np.eye(3, DIM, dtype=np.float32), "bias": np.zeros(3, np.float32)}
SPLITS = ("train", "test", "ood_far")


@pytest.fixture
def maps(rng):
    return {name: rng.random((ROWS, DIM, PLACES)).astype(np.float32) for name in SPLITS}


def folder_of(path, features, extras=None):
    path.mkdir()
    np.savez(path / "head.npz", **HEAD)
    for name, values in features.items():
        labels = {} if name == "ood_far" else {"labels": np.arange(ROWS) % 3}
        np.savez(path / f"{name}.npz", features=values, **labels, **(extras or {}).get(name, {}))
    return path


@pytest.fixture
def store(tmp_path, maps):
    means = {name: values.mean(axis=2) for name, values in maps.items()}
    extras = {
        name: {
            "pooling/max": values.max(axis=2),
            "pooling/std": values.std(axis=2, ddof=1),
            "local": np.zeros((ROWS, 2, DIM), np.float16),
        }
        for name, values in maps.items()
    }
    return import_folder(folder_of(tmp_path / "in", means, extras), tmp_path / "s.zarr")


def pooled(maps, config):
    if config.kind == "max":
        return {name: values.max(axis=2) for name, values in maps.items()}
    return {
        name: values.mean(axis=2) + config.gamma * values.std(axis=2, ddof=1)
        for name, values in maps.items()
    }


KINDS = [PoolingConfig("max"), PoolingConfig("mean_std"), PoolingConfig("mean_std", 2.0)]


@pytest.mark.parametrize("config", KINDS)
def test_features_and_logits_are_those_of_the_pooled_map(store, maps, config):
    seen = with_pooling(store, config)
    expected = pooled(maps, config)
    for name in SPLITS:
        split = seen.split(name)
        assert split.arrays == ["features", "ids", "labels", "logits"]
        np.testing.assert_allclose(split.read("features", 3, 40), expected[name][3:40], rtol=1e-5)
        logits = expected[name] @ HEAD["weight"].T
        np.testing.assert_allclose(split.read("logits", 0, ROWS), logits, rtol=1e-5)
        with pytest.raises(StoreError, match="local"):
            split.read("local", 0, 1)


def test_methods_see_what_they_would_see_of_plain_arrays(store, maps, tmp_path):
    config = PoolingConfig("max")
    plain = import_folder(folder_of(tmp_path / "plain", pooled(maps, config)), tmp_path / "p.zarr")
    methods = Config(methods=("energy", "react", "knn", "vim", "mahalanobis", "scale"))
    boards = [compare(one, methods, {})[0] for one in (with_pooling(store, config), plain)]
    assert boards[0]["auroc"] == boards[1]["auroc"]
    assert len(boards[0]["rows"]) == 6


@pytest.mark.parametrize("config", KINDS)
def test_written_stores_are_the_same_and_whole(store, tmp_path, config):
    made = write_pooled(store, config, tmp_path / "made.zarr")
    seen = PooledStore(store, config)
    assert [name for name, _ in verify_store(made.path)] == list(SPLITS)
    for name in SPLITS:
        for array in ("features", "logits", "labels", "ids"):
            found, expected = (one.split(name).read(array, 0, ROWS) for one in (made, seen))
            np.testing.assert_array_equal(found, expected)
    assert made.provenance["pooling"] == {**config.describe(), "of": store.fingerprint}
    assert write_pooled(store, config, made.path).fingerprint == made.fingerprint


def test_each_pooling_has_its_own_fingerprint(store):
    found = [with_pooling(store, config).fingerprint for config in KINDS]
    assert len({store.fingerprint, *found}) == 4
    gamma = PoolingConfig("max", 3.0)  # It has no effect.
    assert with_pooling(store, gamma).fingerprint == found[0]


def test_the_average_is_the_store_itself(store):
    assert with_pooling(store, PoolingConfig()) is store


def test_stores_without_these_arrays_are_refused(tmp_path, maps):
    means = {name: values.mean(axis=2) for name, values in maps.items()}
    bare = import_folder(folder_of(tmp_path / "in", means), tmp_path / "s.zarr")
    with pytest.raises(MissingNeedError, match=r"pooling/max.*extraction\.extras"):
        with_pooling(bare, PoolingConfig("max"))


def test_pooled_views_have_no_part_of_their_own(store):
    seen = with_pooling(store, PoolingConfig("max"))
    assert seen.parts == seen.splits == list(SPLITS)
    assert FeatureStore.open(store.path).groups("test") == ["pooling"]


@pytest.mark.parametrize("values", [{"kind": "min"}, {"gamma": -1.0}])
def test_ranges(values):
    with pytest.raises(ConfigError, match=rf"pooling\.{next(iter(values))}"):
        PoolingConfig(**values)
