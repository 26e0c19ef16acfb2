"""Stores without a head do what arrays without one do."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import ltood
from ltood.calibrators.none import NoCalibration
from ltood.core.building import EntrySpec, build_method
from ltood.core.errors import DataError, MissingNeedError
from ltood.deployment.exporting import fit_detector
from ltood.scoring.run import score_store, write_scores
from ltood.scoring.session import ScoringSession, fit_method
from ltood.store.exchange import export_head, export_split, import_folder
from ltood.store.features import FeatureStore
from ltood.store.fitted import FittedEntry
from ltood.sweeping.searching import sweep

METHODS = ["mahalanobis", "nearest_class_mean"]


class Squeezed(NoCalibration):
    """Changes features and needs nothing."""

    def _transform(self, features):
        return features.tanh()


@pytest.fixture
def given():
    """Rows of three classes, outliers and OOD rows."""
    rng = np.random.default_rng(0)

    def draw(rows):
        labels = np.arange(rows) % 3
        features = 2 * np.eye(3, 6)[labels] + rng.normal(size=(rows, 6))
        return features.astype(np.float32), labels

    noise = rng.normal(size=(20, 6)).astype(np.float32)
    aux = rng.normal(size=(20, 6)).astype(np.float32)
    return {"train": draw(60), "val": draw(30), "test": draw(30), "aux": aux, "noise": noise}


@pytest.fixture
def store(tmp_path, given):
    ltood.open_features(given).save(tmp_path / "f.zarr")
    return FeatureStore.open(tmp_path / "f.zarr")


def nearest(train, labels, features):
    means = np.stack([train[labels == label].mean(0) for label in range(3)])
    return ((features[:, None] - means) ** 2).sum(2).argmin(1)


def test_stored_and_given_features_compare_alike(given, store):
    opened = ltood.open_features(given)
    boards = [
        ltood.compare(one, methods=[*METHODS, "msp"], device="cpu")
        for one in (opened, ltood.open_features(store.path), store, store.path)
    ]
    right = (nearest(*given["train"], given["test"][0]) == given["test"][1]).mean()
    for board in boards:
        assert [row["method"] for row in board.rows] == [row["method"] for row in boards[0].rows]
        assert [row["mean"] for row in board.rows] == [row["mean"] for row in boards[0].rows]
        assert board.rows[0]["id"]["accuracy"] == pytest.approx(right)
        assert re.search("method msp needs the classifier head; .*head=", board.failures["msp"])


@pytest.mark.parametrize("calibrator", [None, Squeezed()])
def test_predictions_are_those_of_the_nearest_mean(tmp_path, given, store, calibrator):
    session = ScoringSession.open(store, "cpu").with_calibrator(calibrator)
    calibration = FittedEntry("none", {}, store.fingerprint)
    method = build_method(EntrySpec("mahalanobis"))
    scores = write_scores(session, calibration, method, tmp_path / "s.zarr")
    train, labels = given["train"]
    seen = np.asarray if calibrator is None else np.tanh
    for name, features in (("test", given["test"][0]), ("ood_noise", given["noise"])):
        expected = nearest(seen(train), labels, seen(features))
        np.testing.assert_array_equal(scores.split(name).predictions, expected)


def test_scores_are_those_of_the_detector(tmp_path, store):
    method = EntrySpec("mahalanobis")
    scores = score_store(store, tmp_path / "s.zarr", method, device="cpu")
    detector = fit_detector(store, method, device="cpu")
    pipeline = ltood.Pipeline("mahalanobis").fit(store.path)
    for name in ("test", "ood_noise"):
        features = store.split(name).load(("features",))["features"]
        expected = scores.split(name).scores
        np.testing.assert_allclose(detector.score(features), expected, rtol=1e-5)
        np.testing.assert_allclose(pipeline.score(features), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("what", "slots"),
    [
        ("method msp", ("msp",)),
        ("calibrator patt", ("mahalanobis", "patt")),
        ("calibrator logit_adjustment", ("mahalanobis", "logit_adjustment")),
        ("normaliser imood", ("mahalanobis", "none", "imood")),
    ],
)
def test_what_needs_a_head_says_how_to_give_one(tmp_path, store, what, slots):
    reason = rf"{what} needs the classifier head; .* in .*f\.zarr: give one with head= .*adapt"
    with pytest.raises(MissingNeedError, match=reason):
        score_store(store, tmp_path / "s.zarr", *map(EntrySpec, slots), device="cpu")
    assert not (tmp_path / "s.zarr").exists()


def test_validation_archives_of_a_store_without_a_head(tmp_path, store):
    archive = tmp_path / "more.npz"
    np.savez(archive, features=np.ones((4, 6), np.float32))
    given = store, "knn", [{"k": 1}]
    with pytest.raises(MissingNeedError, match=r"more\.npz needs the classifier head; .*head="):
        sweep(*given, validation_ood=str(archive), device="cpu")
    assert sweep(*given, device="cpu").candidates[0].problem is None


def test_neither_head_nor_training_rows(tmp_path):
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    ltood.extract(
        model, {"far": [torch.ones(3, 6)]}, tmp_path / "f.zarr", layer="1", class_counts=[1, 1]
    )
    with pytest.raises(
        MissingNeedError, match=r"f\.zarr has neither a head nor a split train \(only ood_far\)"
    ):
        ScoringSession.open(FeatureStore.open(tmp_path / "f.zarr"), "cpu")


NAMES = ["cat", "dog", "emu"]


@pytest.fixture
def folder(tmp_path, given):
    """Files of the same rows; of the head's arrays there are names alone."""
    path = tmp_path / "in"
    path.mkdir()
    for name in ("train", "val", "test"):
        features, labels = given[name]
        np.savez(path / f"{name}.npz", features=features, labels=labels)
    np.savez(path / "aux.npz", features=given["aux"])
    np.savez(path / "ood_noise.npz", features=given["noise"])
    (path / "head_class_names.txt").write_text("\n".join(NAMES))
    return path


def with_logits(folder, skipped=()):
    """Give logits [N, 3] to every split; they are returned by split."""
    rng, found = np.random.default_rng(1), {}
    for path in folder.glob("*.npz"):
        with np.load(path) as arrays:
            held = dict(arrays)
        if path.stem not in skipped:
            found[path.stem] = rng.normal(size=(len(held["features"]), 3)).astype(np.float32)
            np.savez(path, **held, logits=found[path.stem])
    return found


@pytest.mark.parametrize("logits", [False, True])
def test_a_folder_without_a_head_goes_there_and_back(tmp_path, folder, given, capsys, logits):
    if logits:
        with_logits(folder)
    store = import_folder(folder, tmp_path / "in.zarr")
    said = [line for line in capsys.readouterr().err.splitlines() if "has no head" in line]
    assert len(said) == 1
    assert "head.npz" in said[0]
    assert ("read logits or the head" in said[0]) is not logits
    assert (store.class_names, store.prior().counts.tolist()) == (NAMES, [20, 20, 20])
    assert store.head_arrays() == {}
    np.testing.assert_array_equal(store.split("test").read("features", 0, 30), given["test"][0])
    back = tmp_path / "back"
    for split in store.splits:
        assert ("logits" in export_split(store.path, split, back / f"{split}.npz")) is logits
    assert export_head(store.path, back / "head.npz") == ["class_counts", "class_names"]
    again = import_folder(back, tmp_path / "again.zarr")
    assert (again.class_names, again.splits) == (NAMES, store.splits)
    for split in store.splits:
        names = store.split(split).arrays
        assert again.split(split).arrays == names
        for name, values in store.split(split).load(names).items():
            np.testing.assert_array_equal(again.split(split).load([name])[name], values)
    board = ltood.compare(ltood.open_features(folder), methods=METHODS, device="cpu")
    imported = ltood.compare(again, methods=METHODS, device="cpu")
    assert [row["mean"] for row in board.rows] == [row["mean"] for row in imported.rows]


def test_classes_are_counted_in_train_where_nothing_names_them(tmp_path, folder):
    (folder / "head_class_names.txt").unlink()
    assert import_folder(folder, tmp_path / "in.zarr").class_names == ["0", "1", "2"]
    (folder / "train.npz").unlink()
    with pytest.raises(DataError, match=r"neither a head nor a split train .*aux, ood_noise, test"):
        import_folder(folder, tmp_path / "other.zarr")
    assert not (tmp_path / "other.zarr").exists()


def test_given_logits_are_scored_without_a_head(tmp_path, folder):
    logits = with_logits(folder)
    store = import_folder(folder, tmp_path / "in.zarr")
    scores = score_store(store, tmp_path / "s.zarr", EntrySpec("maxlogit"), device="cpu")
    for name in ("test", "ood_noise"):
        np.testing.assert_allclose(scores.split(name).scores, -logits[name].max(1), rtol=1e-6)
        np.testing.assert_array_equal(scores.split(name).predictions, logits[name].argmax(1))
    sources = (store, ltood.open_features(folder), ltood.open_features(folder).save(tmp_path / "c"))
    boards = [ltood.compare(one, methods=["maxlogit", "react"], device="cpu") for one in sources]
    for board in boards:
        assert [row["mean"] for row in board.rows] == [row["mean"] for row in boards[0].rows]
        assert board.rows[0]["method"] == "maxlogit"
        assert "react needs the classifier head" in board.failures["react"]
    # New rows come without logits, and a calibrator changes the features that logits belong to.
    with pytest.raises(
        MissingNeedError, match=r"detector with method maxlogit .*head, .*; .*head\.npz"
    ):
        fit_detector(store, EntrySpec("maxlogit"), device="cpu")
    session = ScoringSession.open(store, "cpu").with_calibrator(Squeezed())
    with pytest.raises(MissingNeedError, match="maxlogit needs the classifier head"):
        fit_method(session, build_method(EntrySpec("maxlogit")))


def test_logits_that_nothing_honours_are_refused(tmp_path, folder):
    with_logits(folder, skipped=["val"])
    with pytest.raises(DataError, match="has logits but split val has none"):
        import_folder(folder, tmp_path / "in.zarr")
    assert not (tmp_path / "in.zarr").exists()
    with np.load(folder / "test.npz") as arrays:
        np.savez(folder / "test.npz", **{**arrays, "logits": np.zeros((30, 4), np.float32)})
    with pytest.raises(DataError, match=r"test\.npz: logits have shape \(30, 4\)"):
        import_folder(folder, tmp_path / "in.zarr")
