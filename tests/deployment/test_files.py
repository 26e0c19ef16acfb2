"""The two files of a detector: what they hold, and what is refused."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import COUNTS

import ltood
from ltood.core.errors import (
    ConfigError,
    CorruptStoreError,
    StoreError,
    UnknownNameError,
)
from ltood.deployment.files import load_detector, save_detector
from ltood.runtime.provenance import digest


def edit(saved: Path, **changes: object) -> Path:
    sidecar = saved.with_suffix(".json")
    content = {**json.loads(sidecar.read_text()), **changes}
    content.pop("description_sha256")
    sidecar.write_text(json.dumps({**content, "description_sha256": digest(content)}))
    return saved


def test_saving_twice_gives_equal_bytes(detector, saved, tmp_path):
    save_detector(tmp_path / "twin.json", load_detector(saved, "cpu"))
    for suffix in (".safetensors", ".json"):
        assert saved.with_suffix(suffix).read_bytes() == (tmp_path / f"twin{suffix}").read_bytes()


def test_public_loader(saved, detector, rows):
    assert np.array_equal(ltood.load(saved, "cpu").score(rows), detector.score(rows))


def test_import_is_quick():
    code = "import ltood, sys; assert not {'torch', 'numpy'} & sys.modules.keys(); ltood.load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sidecar_says_everything(saved, store):
    said = json.loads(saved.with_suffix(".json").read_text())
    assert said["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert said["provenance"] == store.provenance
    assert said["features_fingerprint"] == store.fingerprint
    assert said["class_counts"] == list(COUNTS)
    assert said["versions"]["ltood"] == ltood.__version__
    assert said["threshold"]["rule"] == "a row is ID where score <= value, else OOD"
    assert said["preprocessing"] is None


def test_existing_files(saved, detector):
    with pytest.raises(StoreError, match="exists already; pass --overwrite"):
        save_detector(saved, detector)
    save_detector(saved, detector, overwrite=True)


def test_other_endings(detector, tmp_path):
    with pytest.raises(StoreError, match=r"name it <name>.safetensors"):
        save_detector(tmp_path / "d.pt", detector)


def test_unwritable_path(detector, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*choose another path"):
        save_detector(tmp_path / "file" / "d.safetensors", detector)


def test_missing_files(saved, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.json does not exist; a detector is"):
        load_detector(tmp_path / "nowhere.safetensors")
    saved.unlink()
    with pytest.raises(StoreError, match="does not exist; copy it next to its description"):
        load_detector(saved)


def test_changed_tensors(saved):
    raw = bytearray(saved.read_bytes())
    raw[-1] ^= 1
    saved.write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="one of the two files was changed or replaced"):
        load_detector(saved, "cpu")


def test_tensors_that_are_none(saved):
    saved.write_bytes(b"x" * 40)
    edit(saved, sha256=hashlib.sha256(b"x" * 40).hexdigest())
    with pytest.raises(CorruptStoreError, match=r"d.safetensors is unreadable"):
        load_detector(saved, "cpu")


@pytest.mark.parametrize("value", ["0.25", "1e999"])
def test_a_threshold_changed_by_hand_is_refused(value, saved):
    sidecar = saved.with_suffix(".json")
    written = json.dumps(json.loads(sidecar.read_text())["threshold"]["value"])
    sidecar.write_text(sidecar.read_text().replace(written, value))
    with pytest.raises(CorruptStoreError, match=r"was changed after it was written .*--threshold"):
        load_detector(saved, "cpu")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "ltood detector", "schema": 1}'])
def test_unreadable_description(text, saved):
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(CorruptStoreError, match="not a readable description"):
        load_detector(saved, "cpu")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "zoo"}, StoreError, "describes a 'zoo', not a detector"),
        ({"schema": 99}, StoreError, "has schema 99, this version reads up to 3; .* use ltood 0"),
        ({"threshold": {"value": "high"}}, CorruptStoreError, "must be a finite number"),
        ({"threshold": {}}, CorruptStoreError, "lacks an entry"),
        ({"method": None}, CorruptStoreError, "lacks an entry"),
        ({"class_names": ["cat"]}, CorruptStoreError, "names 1 classes but the head has 4"),
        ({"method": {"name": "enrgy", "settings": {}}}, UnknownNameError, "No method 'enrgy'"),
        ({"method": {"name": "energy", "settings": {"t": 1}}}, ConfigError, "has no key 't'"),
    ],
)
def test_descriptions_that_do_not_fit(changes, error, message, saved):
    with pytest.raises(error, match=message):
        load_detector(edit(saved, **changes), "cpu")
