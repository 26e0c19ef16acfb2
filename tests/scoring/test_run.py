import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_samples import random_store
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.calibrators.none import NoCalibration
from ltood.calibrators.patt import PATT
from ltood.core.batches import FeatureBatch
from ltood.core.building import NONE, EntrySpec, build_calibrator, build_method, build_normaliser
from ltood.core.errors import ConfigError, LtoodError, MissingNeedError, StoreError
from ltood.core.head import ClassifierHead
from ltood.deployment.exporting import fit_detector
from ltood.ops import statistics
from ltood.ops.calibrated import calibrated
from ltood.scoring.run import base_of, checked_scores, normalise_scores, score_store, write_scores
from ltood.scoring.session import (
    ScoringSession,
    calibrate,
    fit_calibrator,
    fit_method,
    restore_calibrator,
)
from ltood.store.exchange import export_head, export_split, import_folder
from ltood.store.features import ArraySpec, FeatureStore, FeatureWriter, SplitSpec, StoreSpec
from ltood.store.fitted import FittedEntry, read_fitted, write_fitted
from ltood.store.memory import Given, MemoryStore
from ltood.store.scores import ScoreStore, copy_scores


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return random_store(tmp_path)


def test_scores_equal_the_formula(store, tmp_path):
    scores = score_store(store, tmp_path / "s.zarr", EntrySpec("energy"))
    head = store.head_arrays()
    for name in store.splits:
        features = store.split(name).load(("features",))["features"].astype(np.float64)
        logits = features @ head["weight"].T.astype(np.float64) + head["bias"]
        split = scores.split(name)
        np.testing.assert_allclose(split.scores, -np.log(np.exp(logits).sum(1)), rtol=1e-5)
        np.testing.assert_array_equal(split.predictions, logits.argmax(1))
        np.testing.assert_array_equal(split.labels, store.split(name).load(("labels",))["labels"])


def test_calibrated_rows_reach_method_and_prediction(store, tmp_path):
    session = ScoringSession.open(store, "cpu")
    entry = fit_calibrator(session, build_calibrator(EntrySpec("patt")))
    (vector,) = entry.state.values()
    assert vector.shape == (6,)
    scores = score_store(store, tmp_path / "s.zarr", EntrySpec("energy"), EntrySpec("patt"))
    head = store.head_arrays()
    features = store.split("test").load(("features",))["features"].astype(np.float64)
    logits = (features * vector) @ head["weight"].T.astype(np.float64) + head["bias"]
    split = scores.split("test")
    np.testing.assert_allclose(split.scores, -np.log(np.exp(logits).sum(1)), rtol=1e-4)
    np.testing.assert_array_equal(split.predictions, logits.argmax(1))


def test_patches_are_calibrated_like_whole_images(tmp_path):
    rng = np.random.default_rng(3)
    (tmp_path / "in").mkdir()
    weight = rng.normal(size=(4, 6))
    np.savez(tmp_path / "in" / "head.npz", weight=weight, bias=np.zeros(4))
    for name, rows in (("train", 80), ("test", 20), ("aux", 15), ("ood_far", 15)):
        labels = {} if name in ("aux", "ood_far") else {"labels": np.arange(rows) % 4}
        local = np.abs(rng.normal(size=(rows, 3, 6))).astype(np.float32)
        archive = tmp_path / "in" / f"{name}.npz"
        np.savez(archive, features=local.mean(axis=1), local=local, **labels)
    store = import_folder(tmp_path / "in", tmp_path / "features.zarr")
    (vector,) = fit_calibrator(
        ScoringSession.open(store, "cpu"), build_calibrator(EntrySpec("patt"))
    ).state.values()
    scores = score_store(store, tmp_path / "s.zarr", EntrySpec("l_mcm"), EntrySpec("patt"))
    patches = store.split("test").load(("local",))["local"].astype(np.float64) * vector
    directions = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    odds = np.exp(patches / np.linalg.norm(patches, axis=2, keepdims=True) @ directions.T)
    expected = -(odds / odds.sum(axis=2, keepdims=True)).max(axis=(1, 2))
    np.testing.assert_allclose(scores.split("test").scores, expected, rtol=1e-5)


def test_stage_by_stage_equals_one_call(store, tmp_path):
    whole = score_store(
        store, tmp_path / "a.zarr", EntrySpec("energy"), EntrySpec("patt"), EntrySpec("imood")
    )
    session = ScoringSession.open(store, "cpu")
    write_fitted(
        tmp_path / "calibration", fit_calibrator(session, build_calibrator(EntrySpec("patt")))
    )
    entry = read_fitted(tmp_path / "calibration")
    session = restore_calibrator(session, entry)
    raw = write_scores(session, entry, build_method(EntrySpec("energy")), tmp_path / "raw.zarr")
    final = normalise_scores(
        session, raw, build_normaliser(EntrySpec("imood"), base_of(raw)), tmp_path / "final.zarr"
    )
    for name in store.splits:
        np.testing.assert_array_equal(whole.split(name).scores, final.split(name).scores)
    assert final.attributes["calibrator"]["name"] == "patt"
    assert final.attributes["normaliser"]["name"] == "imood"
    assert final.attributes["provenance"] == store.provenance


def test_the_store_is_unchanged_by_scoring(store, tmp_path):
    def digest():
        return {p: p.read_bytes() for p in sorted(store.path.rglob("*")) if p.is_file()}

    before = digest()
    for method in ("react", "himplos", "knn"):
        settings = {"k": 3} if method == "knn" else {}
        score_store(
            store, tmp_path / f"{method}.zarr", EntrySpec(method, settings), EntrySpec("patt")
        )
    assert digest() == before


def test_a_calibrator_of_another_store_is_refused(store):
    session = ScoringSession.open(store, "cpu")
    entry = fit_calibrator(session, build_calibrator(EntrySpec("patt")))
    other = FittedEntry(entry.name, entry.settings, "0" * 64, {}, entry.state)
    with pytest.raises(StoreError, match="calibrator patt was fitted on features 0000"):
        restore_calibrator(session, other)


def test_scores_of_another_store_are_refused(store, tmp_path):
    score_store(store, tmp_path / "s.zarr", EntrySpec("energy"))
    raw = ScoreStore.open(tmp_path / "s.zarr")
    raw.attributes["features_fingerprint"] = "0" * 64
    with pytest.raises(StoreError, match="was made from features 0000"):
        normalise_scores(
            ScoringSession.open(store, "cpu"),
            raw,
            build_normaliser(EntrySpec("imood"), base_of(raw)),
            tmp_path / "n.zarr",
        )


def test_missing_needs_are_named(store, tmp_path):
    folder = tmp_path / "no_aux"
    folder.mkdir()
    for name in ("head", "train", "test", "ood_far"):
        (folder / f"{name}.npz").write_bytes((tmp_path / "in" / f"{name}.npz").read_bytes())
    bare = import_folder(folder, tmp_path / "bare.zarr")
    with pytest.raises(MissingNeedError, match="calibrator patt needs auxiliary outlier features"):
        score_store(bare, tmp_path / "s.zarr", EntrySpec("energy"), EntrySpec("patt"))


def test_scores_that_are_not_finite_never_reach_the_store():
    batch = FeatureBatch.of(
        logits=torch.zeros(3, 2), ids=torch.tensor([7, 8, 9]), labels=torch.zeros(3).long()
    )
    with pytest.raises(LtoodError, match=r"method toy gave 1 scores that are not finite .*id 8"):
        checked_scores(torch.tensor([0.0, float("nan"), 1.0]), batch, "method toy", "test")
    with pytest.raises(LtoodError, match=r"scores of shape \(2,\) for 3 rows"):
        checked_scores(torch.zeros(2), batch, "method toy", "test")


def test_copied_scores_are_equal(store, tmp_path):
    first = score_store(store, tmp_path / "a.zarr", EntrySpec("energy"))
    second = copy_scores(first, tmp_path / "b.zarr")
    assert first.attributes == second.attributes
    np.testing.assert_array_equal(first.split("test").scores, second.split("test").scores)


def test_float16_features_score_like_float32(store, tmp_path):
    rng = np.random.default_rng(5)
    folder = tmp_path / "half"
    folder.mkdir()
    features = np.abs(rng.normal(size=(40, 6))).astype(np.float16)
    for name, dtype in (("half", np.float16), ("full", np.float32)):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        (out / "head.npz").write_bytes((tmp_path / "in" / "head.npz").read_bytes())
        for split in ("train", "test"):
            labels = np.arange(40) % 4
            np.savez(out / f"{split}.npz", features=features.astype(dtype), labels=labels)
    scores = [
        score_store(
            import_folder(tmp_path / name, tmp_path / f"{name}.zarr"),
            tmp_path / f"{name}_scores.zarr",
            EntrySpec("knn", {"k": 3}),
        )
        for name in ("half", "full")
    ]
    np.testing.assert_allclose(
        scores[0].split("test").scores, scores[1].split("test").scores, rtol=1e-5, atol=1e-6
    )


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(5, 40), chunk=st.integers(1, 50))
@settings(max_examples=8, deadline=None)
def test_imported_features_score_like_the_store_they_came_from(seed, rows, chunk):
    """A store written as extraction does, exported, imported again and scored."""
    rng = np.random.default_rng(seed)
    head = {
        "weight": rng.normal(size=(3, 6)).astype(np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
    }
    arrays = {
        "features": ArraySpec("float32", (6,)),
        "logits": ArraySpec("float32", (3,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    splits = {"train": 3 + rows, "test": rows, "ood_far": rows}
    spec = StoreSpec({name: SplitSpec(count, arrays) for name, count in splits.items()}, chunk)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        counts = np.bincount(np.arange(3 + rows) % 3, minlength=3)
        writer = FeatureWriter.create(path / "a.zarr", spec, {}, head, list("abc"), counts)
        for name, count in splits.items():
            features = np.abs(rng.normal(size=(count, 6))).astype(np.float32)
            logits = features @ head["weight"].T + head["bias"]
            labels = np.arange(count) % 3 if name != "ood_far" else np.full(count, -1)
            whole = {"features": features, "logits": logits, "labels": labels}
            whole["ids"] = np.arange(count)
            for start, stop in writer.missing(name):
                writer.write(name, start, {key: v[start:stop] for key, v in whole.items()})
        writer.finish()
        for name in splits:
            export_split(path / "a.zarr", name, path / "back" / f"{name}.npz")
        export_head(path / "a.zarr", path / "back" / "head.npz")
        original = FeatureStore.open(path / "a.zarr")
        imported = import_folder(path / "back", path / "b.zarr")
        for method in ("energy", "himplos", "mahalanobis", "knn"):
            choice = EntrySpec(method, {"k": 2} if method == "knn" else {})
            first = score_store(original, path / f"{method}_a.zarr", choice)
            second = score_store(imported, path / f"{method}_b.zarr", choice)
            for name in splits:
                np.testing.assert_array_equal(first.split(name).scores, second.split(name).scores)


def test_a_stored_detector_reads_the_score_it_was_trained_with():
    stored = EntrySpec("imood", {"detector": "stored"})
    build_normaliser(stored, build_method(EntrySpec("energy", {"temperature": 1})))
    with pytest.raises(ConfigError, match=r"methods\.energy\.temperature is 5"):
        build_normaliser(stored, build_method(EntrySpec("energy", {"temperature": 5})))
    build_normaliser(EntrySpec("imood"), build_method(EntrySpec("energy", {"temperature": 5})))


def test_all_slots_are_checked_before_one_is_fitted(store, tmp_path, monkeypatch):
    def fit(self, inputs):
        raise AssertionError("fitted")

    monkeypatch.setattr(PATT, "_fit", fit)
    for slots in (
        (EntrySpec("knn", {"k": 0}), EntrySpec("patt")),
        (EntrySpec("knn"), EntrySpec("patt"), EntrySpec("imood", {"tau": -1.0})),
        (EntrySpec("knn"), EntrySpec("patt"), EntrySpec("imood")),  # no scale for knn
    ):
        with pytest.raises(ConfigError):
            score_store(store, tmp_path / "s.zarr", *slots)
        with pytest.raises(ConfigError):
            fit_detector(store, *slots, threshold_split="test")


def test_each_split_is_opened_once_by_three_slots(store, tmp_path, monkeypatch):
    opened = []
    split = FeatureStore.split
    monkeypatch.setattr(
        FeatureStore, "split", lambda self, name: opened.append(name) or split(self, name)
    )
    slots = (EntrySpec("energy"), EntrySpec("patt"), EntrySpec("imood"))
    score_store(store, tmp_path / "s.zarr", *slots)
    assert sorted(opened) == sorted(store.splits)


def test_class_statistics_are_taken_once_for_a_deployed_detector(store, monkeypatch):
    passes = []
    take = statistics._class_statistics
    monkeypatch.setattr(
        statistics, "_class_statistics", lambda *given: passes.append(1) or take(*given)
    )
    fit_detector(store, EntrySpec("himplos"), threshold_split="test", device="cpu")
    assert len(passes) == 1


def test_inputs_are_kept_for_each_calibrator_and_training_split(store):
    session = ScoringSession.open(store, "cpu")
    assert session.inputs() is session.inputs()
    assert session.inputs("test") is not session.inputs()
    seen, _ = calibrate(session, build_calibrator(EntrySpec("patt")))
    assert seen.inputs() is not session.inputs()
    assert seen.split("train") is session.split("train")
    again = seen.with_calibrator(None)
    assert torch.equal(again.head.bias, session.head.bias)


def test_slots_name_their_settings(store):
    slot = build_method(EntrySpec("react", {"percentile": 80}))
    assert slot.settings["percentile"] == 80
    assert slot.entry.config is slot.config
    fit_method(ScoringSession.open(store, "cpu"), slot)
    record = slot.record()
    assert (record["name"], record["settings"]) == ("react", slot.settings)
    assert record["in_use"] == slot.entry.derived()
    assert build_calibrator(NONE).is_none
    assert not slot.is_none


def test_auxiliary_outputs_are_those_of_calibrated_features(rng):
    weight, extra = torch.tensor(rng.normal(size=(2, 3, 6))).float()
    head = ClassifierHead(weight, torch.zeros(3), extra_weight=extra[:1], extra_bias=torch.zeros(1))
    features = torch.tensor(rng.normal(size=(5, 6))).float()
    raw = FeatureBatch({"features": features, "logits": head.logits(features)})
    assert calibrated(raw, None, head) is raw
    twice = PATT().restore({"strength_": torch.ones(6)})
    twice._transform = lambda rows: 2 * rows
    seen = calibrated(raw, twice, head)
    torch.testing.assert_close(seen.features, 2 * features)
    torch.testing.assert_close(seen.logits, head.logits(2 * features))
    torch.testing.assert_close(seen.aux_outputs, head.aux_outputs(2 * features))
    assert "logits" not in calibrated(raw, twice, head, logits=False).arrays


def test_raw_scores_of_a_killed_run_go_with_the_next(store, tmp_path):
    slots = (EntrySpec("energy"), EntrySpec("none"), EntrySpec("imood"))
    script = """
import os, sys
from pathlib import Path
from ltood.scoring import run
from ltood.core.building import EntrySpec
from ltood.store.features import FeatureStore
run.normalise_scores = lambda *given, **more: os._exit(9)
slots = [EntrySpec("energy"), EntrySpec("none"), EntrySpec("imood")]
run.score_store(FeatureStore.open(sys.argv[1]), Path(sys.argv[2]), *slots)
"""
    out = tmp_path / "out" / "s.zarr"
    command = [sys.executable, "-c", script, str(store.path), str(out)]
    assert subprocess.run(command, check=False).returncode == 9
    assert [path.name[0] for path in out.parent.iterdir()] == ["."]
    score_store(store, out, *slots)
    assert [path.name for path in out.parent.iterdir()] == ["s.zarr"]


class Squeezed(NoCalibration):
    """Changes features and needs nothing."""

    def _transform(self, features):
        return features.tanh()


@pytest.mark.parametrize("calibrator", [None, Squeezed()])
def test_without_a_head_nobody_is_given_logits(calibrator):
    rng = np.random.default_rng(0)
    train, outliers = np.abs(rng.normal(size=(2, 40, 6))).astype(np.float32)
    store = MemoryStore({"train": Given(train, np.arange(40) % 4), "aux": Given(outliers)})
    session = ScoringSession.open(store, "cpu").with_calibrator(calibrator)
    assert session.own_head is None
    assert session.inputs().head is None
    (batch,) = session.source("train").batches(arrays=("features", "logits", "labels"))
    with pytest.raises(MissingNeedError, match="logits"):
        _ = batch.logits
    means = torch.stack([batch.features[batch.labels == label].mean(0) for label in range(4)])
    nearest = torch.cdist(batch.features.double(), means.double()).argmin(1)
    assert torch.equal(session.head.logits(batch.features).argmax(1), nearest)
