"""Rows that decide: never test rows or copies of them."""

import shutil

import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.metrics.auroc import auroc
from ltood.store.adapted import AdaptedHead, AdaptedStore
from ltood.store.exchange import import_folder
from ltood.sweeping.searching import sweep
from tests.sweeping.sweep_samples import make_store


def test_outliers_of_an_archive_are_seen_through_the_adapted_head(store, tmp_path):
    rng = np.random.default_rng(7)
    arrays = {"weight": rng.normal(size=(3, 8)), "bias": rng.normal(size=3)}
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    head = AdaptedHead(tuple(store.class_names), "", {}, arrays)
    seen, candidates = AdaptedStore(store, head), [{"temperature": 1.0}]
    wanted = sweep(seen, "energy", candidates).candidates[0].metrics
    assert wanted != sweep(store, "energy", candidates).candidates[0].metrics
    outliers = tmp_path / "outliers.npz"
    np.savez(outliers, features=store.split("aux").load(["features"])["features"])
    found = sweep(seen, "energy", candidates, validation_ood=str(outliers))
    assert found.candidates[0].metrics == wanted


def test_outliers_to_tune_on_have_a_split_of_their_own(tmp_path):
    make_store(tmp_path)
    arrays = tmp_path / "in"
    shutil.copy(arrays / "aux.npz", arrays / "val_ood_tin.npz")
    store = import_folder(arrays, tmp_path / "again.zarr")
    one = [{"temperature": 1.0}]
    found = sweep(store, "energy", one, validation_ood="val_ood_tin")
    assert found.validation == {"id": "val", "ood": "val_ood_tin"}
    assert found.candidates[0].metrics == sweep(store, "energy", one).candidates[0].metrics
    with pytest.raises(StoreError, match="has no split val_ood_other"):
        sweep(store, "energy", one, validation_ood="val_ood_other")


def test_test_sets_are_refused(store, tmp_path):
    one = [{"temperature": 1.0}]
    with pytest.raises(ConfigError, match="ood_far is a test set: settings chosen on it make"):
        sweep(store, "energy", one, validation_ood="ood_far")
    for split in ("train", "val", "test"):
        with pytest.raises(ConfigError, match=f"--validation-ood is {split}, which holds ID rows"):
            sweep(store, "energy", one, validation_ood=split)
    result = sweep(store, "energy", one, validation_ood="ood_far", official_sweep_on_test=True)
    assert result.validation == {"id": "test", "ood": "ood_far"}
    assert result.warnings == ["settings were chosen on test rows; metrics on them are optimistic."]
    known, unknown = (store.split(name).load(["logits"])["logits"] for name in ("test", "ood_far"))
    expected = auroc(*(-np.log(np.exp(z.astype(float)).sum(1)) for z in (known, unknown)))
    assert result.winner.metrics["auroc"] == pytest.approx(expected, abs=1e-3)


def test_copies_of_test_rows_are_refused(store, tmp_path):
    rows = store.split("ood_near").load(["features"])["features"]
    others = np.abs(np.random.default_rng(1).normal(size=(70, 8))).astype(np.float32)
    copies, few = tmp_path / "copies.npz", tmp_path / "few.npz"
    # Half precision hides nothing.
    np.savez(copies, features=np.concatenate([others, rows]).astype(np.float16))
    with pytest.raises(
        DataError, match=r"30 of 100 different rows of .*copies.npz are rows of the"
    ):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(copies))
    np.savez(copies, features=store.split("test").load(["features"])["features"])
    with pytest.raises(DataError, match=r"rows of .*copies.npz are rows of the test set test too"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(copies))
    np.savez(
        few, features=np.concatenate([np.tile(others, (3, 1)) + np.arange(210)[:, None], rows[:2]])
    )
    result = sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(few))
    assert result.validation["ood"] == str(few)


def test_archives_are_checked_under_their_own_name(store, tmp_path):
    wide = tmp_path / "wide.npz"
    np.savez(wide, features=np.ones((4, 9), np.float32))
    with pytest.raises(DataError, match=r"wide.npz: features have shape"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(wide))
    with pytest.raises(ConfigError, match=r"nowhere.npz, which is neither aux nor a file"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood="nowhere.npz")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("val", r"has no split val \(only train, .*hold ID rows back"), ("aux", "has no split aux")],
)
def test_missing_sides_are_named(tmp_path, missing, message):
    store = make_store(tmp_path, leave_out=(missing,))
    with pytest.raises(StoreError, match=message):
        sweep(store, "energy", [{"temperature": 1.0}])


@pytest.mark.parametrize(
    ("split", "setting"),
    [("aux", "datasets.folder.aux"), ("val_ood_far", "datasets.folder.val_ood")],
)
def test_missing_outliers_of_the_pipeline_name_their_setting(tmp_path, monkeypatch, split, setting):
    store = make_store(tmp_path, leave_out=("aux",))
    monkeypatch.setattr(type(store), "provenance", {"dataset": {"name": "folder"}})
    with pytest.raises(StoreError, match=setting):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=split)


def test_labelled_rows_of_outliers_count_as_known(store, tmp_path):
    rng = np.random.default_rng(5)
    features = np.abs(rng.normal(size=(20, 8))).astype(np.float32)
    mixed, known = tmp_path / "mixed.npz", tmp_path / "known.npz"
    np.savez(mixed, features=features, sc_label=np.repeat([-1, 2], 10))
    np.savez(known, features=features, sc_label=np.full(20, 1))
    result = sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(mixed))
    head = store.head_arrays()
    logits = features.astype(float) @ head["weight"].T.astype(float) + head["bias"]
    scores = -np.log(np.exp(logits).sum(1))
    of_val = store.split("val").load(["logits"])["logits"].astype(float)
    of_val = -np.log(np.exp(of_val).sum(1))
    expected = auroc(np.concatenate([of_val, scores[10:]]), scores[:10])
    assert result.winner.metrics["auroc"] == pytest.approx(expected, abs=1e-9)
    with pytest.raises(DataError, match=r"rows of .*known.npz carry a class label"):
        sweep(store, "energy", [{"temperature": 1.0}], validation_ood=str(known))
