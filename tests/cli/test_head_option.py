"""The head of the adapt stage on the command line."""

import numpy as np
import pytest
from typer.testing import CliRunner

from ltood.cli import app
from ltood.core.errors import MissingNeedError
from ltood.deployment.files import load_detector
from ltood.library.features import Features
from ltood.library.opening import open_features
from ltood.store.adapted import AdaptedHead, write_adapted
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore

NAMES = ("0", "1", "2")


@pytest.fixture
def store(tmp_path, rng) -> FeatureStore:
    folder = tmp_path / "in"
    folder.mkdir()
    np.savez(folder / "head.npz", weight=np.ones((3, 4)), bias=np.zeros(3))
    for name, rows in (("train", 12), ("val", 9), ("test", 9), ("aux", 6), ("ood_far", 6)):
        labels = {} if name in ("aux", "ood_far") else {"labels": np.arange(rows) % 3}
        np.savez(folder / f"{name}.npz", features=rng.normal(size=(rows, 4)), **labels)
    return import_folder(folder, tmp_path / "features.zarr")


@pytest.fixture
def head(tmp_path, store, rng) -> AdaptedHead:
    weight = rng.normal(size=(3, 4)).astype(np.float32)
    arrays = {"weight": weight, "bias": np.zeros(3, np.float32)}
    head = AdaptedHead(tuple(store.class_names), "", {"recipe": "test"}, arrays)
    write_adapted(tmp_path / "head", head)
    return head


def ltood(*words):
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_score_reads_the_adapted_head(tmp_path, store, head):
    common = ("score", "--store", store.path, "--method", "maxlogit", "--device", "cpu")
    ltood(*common, "--out", tmp_path / "own.zarr")
    ltood(*common, "--out", tmp_path / "new.zarr", "--head", tmp_path / "head")
    features = store.split("test").load(["features"])["features"]
    own, new = (ScoreStore.open(tmp_path / f"{name}.zarr") for name in ("own", "new"))
    expected = -(features @ head.arrays["weight"].T).max(1)
    np.testing.assert_allclose(new.split("test").scores, expected, rtol=1e-5)
    np.testing.assert_allclose(own.split("test").scores, -features.sum(1), rtol=1e-4, atol=1e-5)


def test_compare_reads_the_adapted_head(tmp_path, store, head):
    common = ("compare", "--store", store.path, "--method", "maxlogit", "--device", "cpu")
    tables = [
        ltood(*common, "--out", tmp_path / name, *more).output
        for name, more in (("own", ()), ("new", ("--head", tmp_path / "head")))
    ]
    assert "maxlogit" in tables[1]
    assert tables[0] != tables[1]


def test_a_store_without_a_head_takes_the_adapted_one(tmp_path, store, head):
    path = tmp_path / "headless.zarr"
    bare = {name: split.without("logits") for name, split in open_features(store.path).items()}
    Features(bare, {}, list(NAMES), store.prior().counts).save(path)
    common = ("--store", path, "--device", "cpu")
    table = ltood(
        "compare", *common, "--method", "nearest_class_mean", "--out", tmp_path / "board"
    ).output
    assert "nearest_class_mean" in table
    ltood("score", *common, "--method", "nearest_class_mean", "--out", tmp_path / "mean.zarr")
    common = ("score", *common, "--method", "maxlogit", "--out", tmp_path / "maxlogit.zarr")
    with pytest.raises(MissingNeedError, match="method maxlogit needs the classifier head"):
        ltood(*common)
    ltood(*common, "--head", tmp_path / "head")
    features = store.split("test").load(["features"])["features"]
    logits = features @ head.arrays["weight"].T
    found = ScoreStore.open(tmp_path / "maxlogit.zarr").split("test")
    np.testing.assert_allclose(found.scores, -logits.max(1), rtol=1e-5)
    np.testing.assert_array_equal(found.predictions, logits.argmax(1))


@pytest.mark.filterwarnings("ignore:the best")
def test_sweep_reads_the_adapted_head(tmp_path, store, head):
    common = ("sweep", "energy", "--store", store.path, "--grid", "temperature=1,2")
    values = []
    for name, more in (("own", ()), ("new", ("--head", tmp_path / "head"))):
        where = ("--out", tmp_path / name, "--device", "cpu")
        ltood(*common, *where, *more)
        values.append((tmp_path / name / "sweep.csv").read_text())
    assert values[0] != values[1]


def test_a_detector_takes_the_adapted_head_along(tmp_path, store, head, rng):
    out = tmp_path / "detector.safetensors"
    common = ("--store", store.path, "--method", "maxlogit", "--device", "cpu")
    ltood("export-detector", *common, "--out", out, "--head", tmp_path / "head")
    detector = load_detector(out, "cpu")
    rows = rng.normal(size=(5, 4)).astype(np.float32)
    found = detector.predict(rows)
    logits = rows @ head.arrays["weight"].T
    np.testing.assert_allclose(found.scores, -logits.max(1), rtol=1e-5)
    np.testing.assert_array_equal(found.classes, logits.argmax(1))
    assert detector.description["provenance"]["head"] == {"recipe": "test"}
