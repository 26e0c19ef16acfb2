"""`ltood export-onnx`: one file beside the detector, none where it cannot be made."""

import json

import pytest

from ltood.deployment.files import save_detector
from ltood.deployment.packing import network_of
from tests.deployment.detector_samples import make_image_samples

onnxruntime = pytest.importorskip("onnxruntime")


def test_the_file_is_written_beside_the_detector(tmp_path, ltood):
    samples = make_image_samples(tmp_path)
    folder = tmp_path / "a folder with ümlauts"
    folder.mkdir()
    path = folder / "detector.safetensors"
    save_detector(path, samples.detector, network=network_of(samples.detector, samples.checkpoint))
    assert "detector.onnx" in ltood("export-onnx", path).stdout
    session = onnxruntime.InferenceSession(str(folder / "detector.onnx"))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == samples.detector.class_names
    assert "--overwrite" in ltood("export-onnx", path, code=1).stderr
    ltood("export-onnx", path, "--out", tmp_path / "x.bin", code=1)
    (folder / "detector.network" / "checkpoint.json").unlink()
    ltood("export-onnx", path, "--overwrite", code=1)
    assert (folder / "detector.onnx").is_file()
