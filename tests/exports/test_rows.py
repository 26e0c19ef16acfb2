import shutil

import numpy as np
import pytest

from ltood.core.building import EntrySpec
from ltood.core.errors import StoreError
from ltood.exports import rows as module
from ltood.exports.rows import RowTable
from ltood.scoring.run import score_store
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore


def joined(table, pick):
    parts = {name: [] for name in table.splits}
    for rows in table.batches():
        parts[rows.split].append(pick(rows))
    return {name: np.concatenate(values) for name, values in parts.items()}


@pytest.mark.parametrize("most", [1, 7, 10**6])
def test_rows_of_all_stores_side_by_side(features, scores, monkeypatch, most):
    monkeypatch.setattr(module, "_BATCH_ROWS", most)
    table = RowTable([scores["energy"], features, scores["msp"]], ["test", "ood_far"])
    assert list(table.scores) == ["energy", "msp"]
    for name, path in scores.items():
        found = joined(table, lambda rows, name=name: rows.scores[name])
        predicted = joined(table, lambda rows, name=name: rows.predictions[name])
        for split, values in found.items():
            np.testing.assert_array_equal(values, ScoreStore.open(path).split(split).scores)
            wanted = ScoreStore.open(path).split(split).predictions
            np.testing.assert_array_equal(predicted[split], wanted)
    for split, values in joined(table, lambda rows: rows.features).items():
        wanted = FeatureStore.open(features).split(split).load(["features"])["features"]
        np.testing.assert_array_equal(values, wanted)
    assert table.num_rows == sum(len(values) for values in found.values())


def test_a_batch_of_wide_features_is_small(features, monkeypatch):
    table = RowTable([features])
    monkeypatch.setattr(module, "_BATCH_BYTES", 4 * table.dim * 3)
    assert table.batch_rows == 3
    assert max(len(rows) for rows in table.batches()) == 3
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    assert table.batch_rows == 1


def test_splits_are_those_that_all_have(features, scores, tmp_path):
    path = tmp_path / "test.zarr"
    opened = FeatureStore.open(features)
    score_store(opened, path, EntrySpec("msp"), splits=["test", "val"], device="cpu")
    assert RowTable([features, path]).splits == ["val", "test"]
    with pytest.raises(StoreError, match="ood_far"):
        RowTable([features, path], ["ood_far"])


def test_no_store():
    with pytest.raises(StoreError):
        RowTable([])


def test_two_stores_of_features(features):
    with pytest.raises(StoreError, match="second feature store"):
        RowTable([features, features])


def test_two_stores_of_one_name(scores, tmp_path):
    copy = shutil.copytree(scores["energy"], tmp_path / "energy")
    with pytest.raises(StoreError, match="column energy"):
        RowTable([scores["energy"], copy])


@pytest.mark.parametrize("key", ["ids", "labels"])
def test_stores_of_other_images(folder_with, features, key):
    other = folder_with(key)
    with pytest.raises(StoreError, match=f"{key} of split test"):
        list(RowTable([features, other]).batches())


def test_stores_of_other_sizes(folder_with, features):
    with pytest.raises(StoreError, match="split test has"):
        list(RowTable([features, folder_with("rows")]).batches())


def test_stores_of_other_classes(folder_with, features):
    with pytest.raises(StoreError, match="classes"):
        RowTable([features, folder_with("classes")])


@pytest.fixture
def folder_with(tmp_path, features):
    """Scores of features that differ from the usual ones in one thing."""

    def make(what):
        head = FeatureStore.open(features).head_arrays()
        names = list("wxyz" if what == "classes" else "0123")
        counts = FeatureStore.open(features).prior().counts
        np.savez(tmp_path / "head.npz", **head, class_counts=counts, class_names=np.array(names))
        for split in ("train", "test"):
            arrays = FeatureStore.open(features).split(split).load(["features", "labels", "ids"])
            if split == "test" and what == "rows":
                arrays = {key: values[1:] for key, values in arrays.items()}
            elif split == "test" and what in arrays:
                arrays = {**arrays, what: np.roll(arrays[what], 1)}
            np.savez(tmp_path / f"{split}.npz", **arrays)
        store = import_folder(tmp_path, tmp_path / "other.zarr")
        score_store(store, tmp_path / "scores.zarr", EntrySpec("msp"), device="cpu")
        return tmp_path / "scores.zarr"

    return make
