import json
import shutil

import numpy as np
import pytest

from ltood.cli.store import extract
from ltood.store.features import FeatureStore


def test_info_is_json(ltood, store):
    content = json.loads(ltood("store", "info", store).stdout)
    assert content["kind"] == "features"
    assert set(content["splits"]) == {"train", "val", "test", "aux", "ood_far", "ood_near"}


def test_a_whole_store_is_ok(ltood, store, scores):
    for path in (store, scores):
        lines = ltood("store", "verify", path).stdout.splitlines()
        assert len(lines) == 6
        assert all(line.endswith("ok") for line in lines)


def test_a_changed_byte_is_named(ltood, store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    chunk = copy / "ood_far" / "features" / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[3] ^= 0x10
    chunk.write_bytes(bytes(raw))
    assert "ood_far/features/c/0/0" in ltood("store", "verify", copy, code=1).stderr


def test_every_damaged_chunk_is_named_and_copied_again(ltood, store, tmp_path):
    copy = tmp_path / "copy.zarr"
    assert "0 there already" in ltood("store", "copy", store, copy).stdout
    for split in ("ood_far", "train"):
        (copy / split / "features" / "c" / "0" / "0").unlink()
    refused = ltood("store", "verify", copy, code=1)
    assert refused.stdout.count("damaged") == 2
    assert refused.stderr.count("features/c/0/0 is missing") == 2
    assert "2 chunks copied" in ltood("store", "copy", store, copy).stdout
    ltood("store", "rechunk", copy, "--rows", 5, "--out", tmp_path / "small.zarr")
    ltood("store", "merge", copy, store, "--out", tmp_path / "one.zarr")
    for path in (copy, tmp_path / "small.zarr", tmp_path / "one.zarr"):
        ltood("store", "verify", path)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_not_a_store_is_refused(ltood, tmp_path, command):
    assert str(tmp_path / "none") in ltood("store", command, tmp_path / "none", code=1).stderr


def test_another_pooling_is_a_store_of_its_own(ltood, tmp_path, rng):
    folder, out = tmp_path / "in", tmp_path / "max.zarr"
    folder.mkdir()
    features, largest = rng.random((2, 12, 4), dtype=np.float32)
    np.savez(folder / "head.npz", weight=np.eye(3, 4), bias=np.zeros(3))
    arrays = {"features": features, "pooling/max": largest, "pooling/std": features}
    np.savez(folder / "train.npz", labels=np.arange(12) % 3, **arrays)
    ltood("import", folder, "--store", tmp_path / "s.zarr")
    assert "train" in ltood("store", "pool", tmp_path / "s.zarr", "--out", out).stdout
    stored = FeatureStore.open(out).split("train").read("features", 0, 12)
    np.testing.assert_array_equal(stored, largest)
    for kind in ("average", "median"):
        refused = ltood("store", "pool", tmp_path / "s.zarr", "--out", out, "--kind", kind, code=1)
        assert kind in refused.stderr


@pytest.mark.parametrize(
    ("params", "extras"),
    [
        (None, None),
        ("method: odin\nextraction: {extras: auto}\ncompare: {methods: [energy]}\n", ["odin"]),
        ("method: odin\nextraction: {extras: [maps]}\n", ["maps"]),
        ("method: knn\npooling: {kind: max}\n", ["pooling"]),
    ],
)
@pytest.mark.parametrize("to", ["memory://bucket/ü f", "ü f.zarr"])
def test_extraction_takes_what_the_pipeline_would(params, extras, to, tmp_path, monkeypatch):
    found = {}
    for module, name in (("in_place", "extract_to"), ("extract", "extract")):
        monkeypatch.setattr(
            f"ltood.extraction.{module}.{name}",
            lambda checkpoint, data, out, config, **options: found.update(options, out=str(out)),
        )
    monkeypatch.setattr("ltood.images.prepared.open_prepared", lambda path: None)
    monkeypatch.chdir(tmp_path)
    if params is not None:
        (tmp_path / "params.yaml").write_text(params)
    extract(to, take_over=True)
    assert (found["out"], found["extras"]) == (to, extras)
    assert found.get("take_over", True) is True
