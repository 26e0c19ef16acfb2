"""docs/reference/file-formats.md: its readers, which know zarr and NumPy alone."""

import ast
import hashlib
import json

import google_crc32c
import numpy as np
import pytest
from safetensors.numpy import load_file

import ltood
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore
from tests.pages.running import BLOCKS, DOCS, run_command, run_page

PAGE = "reference/file-formats.md"


@pytest.fixture
def written(features, monkeypatch):
    """A folder with a feature store, a score store and a detector."""
    slots = "--method knn --set k=3 --calibrator none --normaliser none"
    run_command(f"ltood score --store features.zarr {slots} --out scores.zarr", monkeypatch)
    run_command(
        f"ltood export-detector --store features.zarr {slots} --out detector.safetensors",
        monkeypatch,
    )
    return features.parent


def test_its_readers_read_what_we_read(written, monkeypatch):
    names = run_page(PAGE, monkeypatch)
    own = FeatureStore.open(written / "features.zarr").split("test")
    np.testing.assert_allclose(names["logits"], own.read("logits", 0, len(own)), rtol=1e-6)
    np.testing.assert_array_equal(names["features"], own.read("features", 0, len(own)))
    assert names["accuracy"] > 0.9
    scores = ScoreStore.open(written / "scores.zarr").split("test").scores
    np.testing.assert_array_equal(names["known"], scores)
    wanted = ltood.evaluate(names["known"], names["unknown"])["fpr95_id_pos_first"]
    assert names["missed"] == pytest.approx(wanted)


def test_its_readers_import_nothing_of_ours():
    for block in BLOCKS((DOCS / PAGE).read_text(encoding="utf-8")):
        if block.language == "python":
            imported = [
                alias.name
                for node in ast.walk(ast.parse(block.text))
                if isinstance(node, ast.Import)
                for alias in node.names
            ]
            assert set(imported) <= {"numpy", "zarr"}


def test_checksums_are_as_it_says(written):
    for store in ("features.zarr", "scores.zarr"):
        root = written / store
        document = json.loads((root / "zarr.json").read_text())
        sealed = document["attributes"].pop("ltood_crc32c")
        found = google_crc32c.value(json.dumps(document, sort_keys=True).encode())
        assert f"{found:08x}" == sealed
        for split, about in document["attributes"]["ltood"]["splits"].items():
            marker = json.loads((root / split / ".done/000000.json").read_text())
            assert marker["rows"] == [0, min(about["rows"], about["rows_per_chunk"])]
            assert marker["crc32c"].keys() == about["arrays"].keys()
            for array, crc in marker["crc32c"].items():
                [chunk] = [
                    path for path in (root / split / array / "c").rglob("*") if path.is_file()
                ]
                assert f"{google_crc32c.value(chunk.read_bytes()):08x}" == crc


def test_every_array_and_attribute_is_on_the_page(written):
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    for store in ("features.zarr", "scores.zarr"):
        content = json.loads((written / store / "zarr.json").read_text())["attributes"]["ltood"]
        arrays = {name for split in content["splits"].values() for name in split["arrays"]}
        for name in {*content, *arrays, *content.get("head", {})}:
            assert f"`{name}`" in text, name


def test_a_detector_is_as_it_says(written):
    text = (DOCS / PAGE).read_text(encoding="utf-8").partition("## Detectors")[2]
    about = json.loads((written / "detector.json").read_text())
    tensors = load_file(written / "detector.safetensors")
    for name in about:
        assert f"`{name}`" in text, name
    groups = {"head", "classes", "method", "calibration", "examples"}
    assert {name.partition(".")[0] for name in tensors} == groups
    for name in tensors:
        assert f"`{name}`" in text or not name.startswith("calibration."), name
    assert tensors["classes.means"].shape == (3, 8)
    raw = (written / "detector.safetensors").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == about["sha256"]
    own = about.pop("description_sha256")
    assert hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest() == own
