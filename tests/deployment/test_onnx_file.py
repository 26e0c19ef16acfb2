"""Network and detector as one ONNX file: it agrees with PyTorch, and says what it holds."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, DataError
from ltood.deployment import onnx_file
from ltood.deployment.exporting import fit_detector
from ltood.deployment.images import Embedder
from ltood.deployment.onnx_file import ScoreDiffersError, sample_images, to_onnx
from ltood.deployment.onnx_graph import NotTraceableError
from ltood.store.exchange import import_folder

onnxruntime = pytest.importorskip("onnxruntime")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"
(PROGRAM,) = re.findall(r"```python\n(import json.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def network(samples):
    return Embedder.open(samples.checkpoint, samples.detector)


@pytest.fixture(scope="module")
def store(samples, tmp_path_factory):
    root = tmp_path_factory.mktemp("onnx")
    return import_folder(samples.folder.parent / "arrays", root / "features.zarr")


@pytest.fixture(scope="module")
def detector(store):
    """One whose graph has a bank of training rows within it."""
    return fit_detector(store, EntrySpec("knn", {"k": 3}), device="cpu")


@pytest.fixture(scope="module")
def written(detector, network):
    return to_onnx(detector, network)


def run(content, images):
    session = onnxruntime.InferenceSession(content)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


@pytest.mark.parametrize("rows", [1, 2, 24])
def test_it_agrees_with_the_detector_for_any_number_of_rows(
    samples, detector, network, written, rows
):
    images = samples.images[:rows]
    found = run(written.content, images)
    features, _ = network.features(images)
    said = detector.predict(features)
    assert np.abs(found["features"] - features.numpy()).max() < 1e-4
    assert np.abs(found["score"] - said.scores.numpy()).max() < 1e-4
    assert found["class"].tolist() == said.classes.tolist()
    sure = np.abs(said.scores.numpy() - detector.threshold) > 1e-4
    assert (found["is_ood"] == said.is_ood.numpy())[sure].all()
    assert written.reason is None
    assert written.difference < onnx_file.TOLERANCE


def test_it_holds_no_path_and_no_code(written):
    assert b"/ltood/" not in written.content
    assert b".py" not in written.content


def test_a_program_without_ltood_judges_a_picture(samples, written, tmp_path):
    """The program of the page on deployment."""
    (tmp_path / "detector.onnx").write_bytes(written.content)
    (tmp_path / "judge.py").write_text(PROGRAM)
    Image.fromarray(samples.images[5]).save(tmp_path / "a photo.png")
    command = [sys.executable, "judge.py", "detector.onnx", "a photo.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    verdict, score, name = done.stdout.split()
    found = run(written.content, samples.images[5:6])
    assert float(score) == pytest.approx(float(found["score"][0]), abs=1e-5)
    assert verdict == ("OOD" if found["is_ood"][0] else "ID")
    assert name == samples.detector.class_names[int(found["class"][0])]


@pytest.fixture
def odd(samples, network):
    """A detector that scores rows in ways that depend on the row."""
    middle = network.features(sample_images(8, 8, 3))[0][:, 0].median()

    class Odd(type(samples.detector.method)):
        def _score(self, batch):
            first = batch.features[:, 0]
            return first * 2 if first[0] > middle else first.cos()

    return dataclasses.replace(samples.detector, method=Odd())


def test_a_score_that_depends_on_the_row_has_no_graph(network, odd):
    judge = onnx_file.Judge(network.backbone, network.dtype, odd)
    features, _ = network.features(sample_images(8, 8, 3))
    with pytest.raises(NotTraceableError):
        judge.watch(features, None)
    assert judge.outputs == ("features", "logits", "class")


def test_a_score_that_differs_is_left_out_and_said(detector, network, written, monkeypatch):
    """The comparison fails once, as it would with a score."""
    failures = [ScoreDiffersError("score differs")]

    def compared(*_):
        if failures:
            raise failures.pop()
        return 0.0

    monkeypatch.setattr(onnx_file, "compared", compared)
    held = []

    def exported(judge, _):
        held.append(judge.has_scores)
        return written.content

    monkeypatch.setattr(onnx_file, "_exported", exported)
    found = to_onnx(detector, network)
    assert held == [True, False]
    assert "score differs" in found.reason


def test_a_detector_too_large_for_a_file_is_written_without_its_score(
    detector, network, monkeypatch
):
    judge = onnx_file.Judge(network.backbone, network.dtype, detector)
    images = sample_images(8, 8, 3)
    judge.watch(*network.features(images))
    monkeypatch.setattr(onnx_file, "_LARGEST", 1000)
    with pytest.raises(NotTraceableError, match="GiB"):
        onnx_file._exported(judge, images)
    judge.forget()
    with pytest.raises(ConfigError, match="GiB"):
        onnx_file._exported(judge, images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("energy", {}),
        ("entropy", {}),
        ("grood", {}),
        ("nac", {}),
        ("openmax", {}),
        ("optfs", {}),
        ("line", {"smoothing": True}),
        ("class_gaussian", {}),
        ("class_gaussian", {"shrinkage": 0.5}),
        ("ensemble", {}),
    ],
)
def test_these_are_written_with_their_score(store, network, method, settings):
    found = to_onnx(fit_detector(store, EntrySpec(method, settings), device="cpu"), network)
    assert found.reason is None
    assert found.difference < onnx_file.TOLERANCE


@pytest.mark.slow
def test_a_score_that_is_no_graph_is_left_out_and_said(network, odd):
    found = to_onnx(odd, network)
    assert found.reason is not None
    session = onnxruntime.InferenceSession(found.content)
    assert [output.name for output in session.get_outputs()] == ["features", "logits", "class"]
    assert session.get_modelmeta().custom_metadata_map["score"] == found.reason


def test_the_reason_is_told_without_colours(samples, network, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("\x1b[1;31mno rule\x1b[0m for aten.odd. More lines.")

    judge = onnx_file.Judge(network.backbone, network.dtype, samples.detector).eval()
    judge.watch(*network.features(samples.images[:4]))
    monkeypatch.setattr(onnx_file.torch.export, "export", fail)
    with pytest.raises(NotTraceableError, match=r"RuntimeError: no rule for aten\.odd"):
        onnx_file._exported(judge, samples.images)


def test_a_row_that_would_go_another_way_has_no_score_and_is_ood(samples, network):
    class Guarded(type(samples.detector.method)):
        def _score(self, batch):
            largest = batch.features.abs().amax()
            return batch.features[:, 0] * (0.0 if largest > 1e6 else 1.0)

    detector = dataclasses.replace(samples.detector, method=Guarded())
    judge = onnx_file.Judge(network.backbone, network.dtype, detector)
    features, _ = network.features(samples.images[:4])
    judge.watch(features, None)
    features = features.clone()
    features[1, 0] = 2e6
    score, is_ood = judge.judge(features, None)[-2:]
    assert np.isnan(score.numpy()).tolist() == [False, True, False, False]
    assert bool(is_ood[1])


def test_a_model_that_differs_is_refused(samples, detector, network, written):
    head = dataclasses.replace(detector.head, bias=detector.head.bias + 0.01)
    other = dataclasses.replace(detector, head=head)
    with pytest.raises(DataError, match="logits"):
        onnx_file.compared(written.content, other, network, samples.images)
    stricter = dataclasses.replace(detector, threshold=-1e9)
    with pytest.raises(ScoreDiffersError, match="is_ood"):
        onnx_file.compared(written.content, stricter, network, samples.images)


def test_features_of_another_precision_are_refused(samples, network):
    other = Embedder(network.backbone, samples.detector.device, "bfloat16", network.dtype)
    with pytest.raises(ConfigError, match=r"extraction\.amp"):
        to_onnx(samples.detector, other)
