"""`ltood export-onnx`: one file beside the detector, none where it cannot be made."""

import json

import pytest

from ltood.deployment import onnx_file
from ltood.deployment.files import save_detector
from ltood.deployment.packing import network_of
from tests.deployment.detector_samples import make_image_samples

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def samples(tmp_path):
    return make_image_samples(tmp_path)


@pytest.fixture
def path(samples, tmp_path):
    folder = tmp_path / "a folder with ümlauts"
    folder.mkdir()
    path = folder / "detector.safetensors"
    save_detector(path, samples.detector, network=network_of(samples.detector, samples.checkpoint))
    return path


@pytest.mark.slow
def test_the_file_can_be_run(samples, path, ltood):
    ltood("export-onnx", path)
    session = onnxruntime.InferenceSession(str(path.with_suffix(".onnx")))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == samples.detector.class_names


def test_the_file_is_written_beside_the_detector(path, tmp_path, ltood, monkeypatch):
    written = onnx_file.OnnxFile(b"graph", "it decides by the row.", 1e-6)
    monkeypatch.setattr(onnx_file, "to_onnx", lambda *_: written)
    said = ltood("export-onnx", path).stdout
    assert "detector.onnx" in said
    assert "it decides by the row." in said
    folder = path.parent
    assert (folder / "detector.onnx").read_bytes() == b"graph"
    assert "--overwrite" in ltood("export-onnx", path, code=1).stderr
    ltood("export-onnx", path, "--out", tmp_path / "x.bin", code=1)
    (folder / "detector.network" / "checkpoint.json").unlink()
    ltood("export-onnx", path, "--overwrite", code=1)
    assert (folder / "detector.onnx").is_file()
