"""Bytes of another store are refused, also where shape, marker and checksum are right."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from store_samples import contents, make_spec, tree, write_store

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.store import chunks
from ltood.store.features import FeatureStore
from ltood.store.fitted import FittedEntry, read_fitted, write_fitted
from ltood.store.metadata import CHECKSUM_ATTRIBUTE, _root_checksum
from ltood.store.scores import ScoreSplit, ScoreStore, ScoreWriter

SPEC = make_spec(4, train=10, ood_a=10)


@pytest.fixture
def path(tmp_path):
    return write_store(tmp_path / "store", SPEC)


@pytest.fixture
def other(tmp_path):
    """A store of the same shape, of which only the provenance differs."""
    return write_store(tmp_path / "other", SPEC, provenance={"checkpoint": "sha256:ffff"})


def read_all(path):
    store = FeatureStore.open(path)
    return {name: store.split(name).load(store.split(name).arrays) for name in store.splits}


def take_chunk(source, target):
    """Replace a chunk of all arrays together with its marker."""
    for file in [*source.glob("*/c/1"), *source.glob("*/c/1/0"), source / ".done/000001.json"]:
        if file.is_file():
            shutil.copyfile(file, target / file.relative_to(source))


def test_a_chunk_with_its_marker_from_another_store_is_refused(path, other):
    take_chunk(other / "train", path / "train")
    with pytest.raises(CorruptStoreError, match=r"train/\.done/000001\.json belongs to"):
        read_all(path)


def test_a_chunk_with_its_marker_from_another_split_is_refused(path):
    take_chunk(path / "ood_a", path / "train")
    with pytest.raises(CorruptStoreError, match=r"train/\.done/000001\.json belongs to"):
        read_all(path)


def test_a_whole_split_of_another_store_is_refused(path, other):
    shutil.rmtree(path / "ood_a")
    shutil.copytree(other / "ood_a", path / "ood_a")
    with pytest.raises(CorruptStoreError, match=r"ood_a/\.done/000000\.json belongs to"):
        read_all(path)


def test_a_split_of_the_same_content_is_the_same_split(tmp_path):
    shared = dict.fromkeys(("ood_a", "ood_b"), "ab" * 32)
    spec = make_spec(4, train=10, ood_a=10, ood_b=10)
    for name, fingerprint in shared.items():
        object.__setattr__(spec.splits[name], "fingerprint", fingerprint)
    store = FeatureStore.open(write_store(tmp_path / "store", spec))
    assert store.files("ood_a").identity == store.files("ood_b").identity
    assert store.files("ood_a").identity != store.files("train").identity


@pytest.mark.parametrize(
    "change",
    [
        lambda ours: ours.update(class_counts=[1, 5, 50]),
        lambda ours: ours.update(class_names=["dog", "cat", "owl"]),
        lambda ours: ours["splits"]["train"].update(fingerprint="0" * 64),
        lambda ours: ours["splits"].pop("ood_a"),
        lambda ours: ours.update(fingerprint="0" * 64),
    ],
)
def test_attributes_edited_with_their_checksum_are_refused(path, change):
    document = json.loads((path / "zarr.json").read_bytes())
    change(document["attributes"]["ltood"])
    document["attributes"][CHECKSUM_ATTRIBUTE] = _root_checksum(document)
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(CorruptStoreError, match="fingerprint"):
        FeatureStore.open(path)


def write_scores(path, method, values):
    rows = np.arange(len(values))
    with ScoreWriter(path, {"test": len(values)}, {"method": method}) as writer:
        writer.append("test", ScoreSplit(values, rows, rows, rows))
    return path


def test_scores_of_another_method_are_refused(tmp_path):
    first = write_scores(tmp_path / "a", "energy", np.zeros(5, np.float32))
    second = write_scores(tmp_path / "b", "msp", np.ones(5, np.float32))
    shutil.rmtree(first / "test")
    shutil.copytree(second / "test", first / "test")
    with pytest.raises(CorruptStoreError, match=r"test/\.done/000000\.json belongs to"):
        ScoreStore.open(first).split("test")
    assert ScoreStore.open(second).split("test").scores.tolist() == [1] * 5


@pytest.mark.parametrize("change", [{"name": "none"}, {"features_fingerprint": "cd"}, {"x": 1}])
def test_an_edited_calibration_is_refused(tmp_path, change):
    write_fitted(tmp_path / "patt", FittedEntry("patt", {"k": 1}, "ab", {}, {"v": np.ones(2)}))
    document = tmp_path / "patt" / "fitted.json"
    document.write_text(json.dumps({**json.loads(document.read_bytes()), **change}))
    with pytest.raises(CorruptStoreError, match=r"fitted\.json was edited"):
        read_fitted(tmp_path / "patt")


@pytest.mark.parametrize(
    "name", ["zarr.json", "train/.done/000001.json", "train/features/c/1/0", "head/weight/c/0/0"]
)
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_not_a_regular_file_is_refused(path, name, kind):
    (path / name).unlink()
    (path / name).mkdir() if kind == "folder" else os.mkfifo(path / name)
    with pytest.raises(CorruptStoreError, match=f"{name} is not a regular file"):
        read_all(path), FeatureStore.open(path).head_arrays()


@pytest.mark.parametrize("name", ["zarr.json", "train/.done/000001.json"])
def test_deep_json_is_one_line(path, name):
    (path / name).write_text("[" * 100_000)
    with pytest.raises(CorruptStoreError, match="nested too deeply") as caught:
        read_all(path)
    assert len(str(caught.value)) < 400


def test_the_later_of_two_scorings_refuses(tmp_path):
    rows = np.arange(3)
    scores = ScoreSplit(np.zeros(3, np.float32), rows, rows, rows)

    def later():
        with ScoreWriter(tmp_path / "same", {"test": 3}, {"method": "late"}) as writer:
            writer.append("test", scores)
            write_scores(tmp_path / "same", "early", np.zeros(3, np.float32))

    with pytest.raises(StoreError, match="same exists already"):
        later()
    assert ScoreStore.open(tmp_path / "same").attributes["method"] == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


def test_an_opened_store_reads_markers_and_checks_bytes_once(path, monkeypatch):
    time.sleep(0.05)  # Files that have just changed are checked again by the next store.
    counts = {"markers": 0, "checksums": 0}

    def counting(name, function):
        def call(*arguments):
            counts[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(
        chunks.SplitFiles, "read_marker", counting("markers", chunks.SplitFiles.read_marker)
    )
    monkeypatch.setattr(chunks, "checksum", counting("checksums", chunks.checksum))
    store = FeatureStore.open(path)
    for _ in range(3):
        for name in store.splits:
            store.split(name).load(store.split(name).arrays)
    # Two splits of 3 chunks with 4 arrays.
    assert counts == {"markers": 6, "checksums": 24}
    again = FeatureStore.open(path)
    again.split("train").load(["features"])
    assert counts == {"markers": 9, "checksums": 24}
    time.sleep(0.05)
    raw = bytearray((path / "train/features/c/1/0").read_bytes())
    raw[0] ^= 1
    (path / "train/features/c/1/0").write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="its bytes changed"):
        FeatureStore.open(path).split("train").load(["features"])


def test_equal_inputs_give_equal_bytes_whatever_the_provenance_says(tmp_path):
    # With fingerprints of their own, splits do not depend on what else is noted.
    spec = make_spec(4, train=10)
    object.__setattr__(spec.splits["train"], "fingerprint", "ab" * 32)
    first = write_store(tmp_path / "a", spec, provenance={"dataset": "here"})
    second = write_store(tmp_path / "b", spec, provenance={"dataset": "there"})
    assert FeatureStore.open(first).fingerprint == FeatureStore.open(second).fingerprint
    assert tree(first / "train") == tree(second / "train")
    np.testing.assert_array_equal(
        FeatureStore.open(first).split("train").read("ids", 0, 10), contents(spec)["train"]["ids"]
    )
