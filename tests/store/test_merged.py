"""Stores that complement one another become one; all others are refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ltood.core.errors import (
    CorruptStoreError,
    FingerprintError,
    IncompleteStoreError,
    StoreError,
)
from ltood.store.features import FeatureStore, StoreSpec
from ltood.store.merged import merge
from ltood.store.rechunked import rechunk
from ltood.store.verifying import faults_of, verify_store
from tests.store.store_samples import create, make_spec, ranges, tree, write, write_store

SPEC = make_spec(4, train=10, test=6, ood_a=3)


def part_of(spec, *names):
    """Some splits of a store, each with the fingerprint that it has in the whole."""
    return StoreSpec({name: spec.splits[name] for name in names}, spec.rows_per_chunk)


@pytest.fixture
def whole(tmp_path):
    return write_store(tmp_path / "whole", SPEC)


def values(path):
    store = FeatureStore.open(path)
    return {
        (name, key): store.rows(name).read(key, 0, len(store.rows(name))).tobytes()
        for name in store.parts
        for key in store.split_spec(name)[0].arrays
    }


def test_row_ranges_of_two_machines_give_the_store_of_one(whole, tmp_path):
    chunks = ranges(SPEC)
    for name, share in (("a", chunks[::2]), ("b", chunks[1::2])):
        write(create(tmp_path / name, SPEC), share)
    stores = [FeatureStore.open(tmp_path / name) for name in "ab"]
    with pytest.raises(IncompleteStoreError):
        merge(stores[:1], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge(stores, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(whole)


def test_splits_of_two_stores(tmp_path):
    named = {name: replace(split, fingerprint=f"of {name}") for name, split in SPEC.splits.items()}
    spec = StoreSpec(named, 4)
    whole = write_store(tmp_path / "whole", spec)
    for name, splits in (("a", ("train", "test")), ("b", ("train", "ood_a"))):
        shutil.copytree(whole, tmp_path / f"{name} full")
        write_store(tmp_path / name, part_of(spec, *splits))
    stores = [FeatureStore.open(tmp_path / name) for name in "ab"]
    # Random contents depend on the splits beside them, but train comes last in both.
    with pytest.raises(FingerprintError):
        merge(stores, tmp_path / "out")
    shutil.rmtree(tmp_path / "b" / "train")
    made = merge([FeatureStore.open(tmp_path / name) for name in "ab"], tmp_path / "out")
    assert made.splits == ["train", "test", "ood_a"]
    assert made.fingerprint == FeatureStore.open(whole).fingerprint
    assert len(made.provenance["merged"]) == 2
    assert dict(verify_store(tmp_path / "out")) == {"train": 10, "test": 6, "ood_a": 3}


def test_a_damaged_chunk_is_taken_from_another_store(whole, tmp_path):
    sound = tree(whole)
    other = shutil.copytree(whole, tmp_path / "other")
    (whole / "train/features/c/0/0").write_bytes(b"x")
    with pytest.raises(CorruptStoreError, match="train/features/c/0/0"):
        merge([FeatureStore.open(whole)], tmp_path / "out")
    merge([FeatureStore.open(whole), FeatureStore.open(other)], tmp_path / "out")
    assert tree(tmp_path / "out") == sound


@pytest.mark.parametrize(
    "changes",
    [
        {"class_counts": [50, 5, 2]},
        {"class_names": ["cat", "dog", "bat"]},
        {"provenance": {"checkpoint": "another"}},
        {"head": {"weight": np.ones((3, 4), np.float32), "bias": np.zeros(3, np.float32)}},
    ],
)
def test_stores_of_another_network_are_refused(whole, tmp_path, changes):
    other = write_store(tmp_path / "other", make_spec(4, val=5), **changes)
    with pytest.raises(FingerprintError):
        merge([FeatureStore.open(whole), FeatureStore.open(other)], tmp_path / "out")


def test_an_existing_store_is_never_replaced(whole):
    with pytest.raises(StoreError, match="exists"):
        merge([FeatureStore.open(whole)], whole)


@pytest.mark.parametrize("rows", [1, 3, 100, None])
def test_other_chunks_hold_the_same_values(whole, tmp_path, rows):
    store = FeatureStore.open(whole)
    made = rechunk(store, rows, tmp_path / "out")
    assert values(tmp_path / "out") == values(whole)
    assert made.provenance["rechunked"]["of"] == store.fingerprint
    assert made.fingerprint != store.fingerprint
    assert made.split_spec("train")[0] == store.split_spec("train")[0]
    before = tree(tmp_path / "out")
    (tmp_path / "out/train/.done/000000.json").unlink()
    rechunk(store, rows, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_every_damaged_chunk_is_named(whole):
    (whole / "train/labels/c/1").write_bytes(b"")
    (whole / "train/.done/000002.json").unlink()
    (whole / "ood_a/.done/000000.json").write_text("[]")
    found = {
        name: [fault.rows for fault in faults]
        for name, _, faults in faults_of(FeatureStore.open(whole))
    }
    assert found == {"train": [(4, 8), (8, 10)], "test": [], "ood_a": [(0, 3)]}
