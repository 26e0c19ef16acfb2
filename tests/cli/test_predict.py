import csv
import io
import json

import numpy as np
import pytest

from ltood.deployment.verdicts import COLUMNS
from tests.deployment.detector_samples import make_image_samples


@pytest.fixture(scope="module")
def detector(store, tmp_path_factory):
    """A deployed detector of the store."""
    from ltood.core.building import EntrySpec
    from ltood.deployment.exporting import fit_detector
    from ltood.deployment.files import save_detector
    from ltood.store.features import FeatureStore

    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    save_detector(path, fit_detector(FeatureStore.open(store), EntrySpec("energy"), device="cpu"))
    return path


@pytest.fixture
def one_bad(tmp_path):
    """An archive whose second of three rows is not finite."""
    features = np.ones((3, 8), np.float32)
    features[1, 2] = np.nan
    np.savez(tmp_path / "one_bad.npz", features=features)
    return tmp_path / "one_bad.npz"


@pytest.fixture
def judge_images(ltood, tmp_path):
    """Judge a folder of three images and a broken one, with more options."""
    from ltood.deployment.files import save_detector

    images = make_image_samples(tmp_path)
    (images.folder / "z.png").write_text("broken")
    save_detector(tmp_path / "d.safetensors", images.detector)
    arguments = ("predict", tmp_path / "d.json", images.folder, "--checkpoint", images.checkpoint)

    def run(*options, code=0):
        return ltood(*arguments, "--device", "cpu", *options, code=code)

    return run


def test_rows_are_classified(ltood, detector, folder):
    shown = ltood("predict", detector, folder / "test.npz").stdout
    assert shown.splitlines()[0] == ",".join(COLUMNS)
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert len(rows) == 60
    assert {row["verdict"] for row in rows} <= {"ID", "OOD"}


def test_a_threshold_of_ones_own_is_taken(ltood, detector, folder):
    shown = ltood(
        *("predict", detector, folder / "test.npz", "--format", "jsonl", "--threshold", 1e9)
    ).stdout
    assert {json.loads(line)["verdict"] for line in shown.splitlines()} == {"ID"}


@pytest.mark.parametrize("threshold", ["nan", "inf"])
def test_a_threshold_is_finite(ltood, detector, folder, threshold):
    arguments = ("predict", detector, folder / "test.npz", "--threshold", threshold)
    assert "--threshold" in ltood(*arguments, code=1).stderr


def test_what_is_refused_at_once_prints_no_header(ltood, detector, tmp_path):
    run = ltood("predict", detector, tmp_path / "none.npz", code=1)
    assert run.stdout == ""
    assert "none.npz" in run.stderr


def test_the_remedy_names_the_option(ltood, detector, one_bad):
    assert "--on-error skip" in ltood("predict", detector, one_bad, code=1).stderr


def test_skipped_rows_are_counted(ltood, detector, one_bad):
    run = ltood("predict", detector, one_bad, "--on-error", "skip")
    assert len(run.stdout.splitlines()) == 3
    assert "skipped 1 image or row." in run.stderr


def test_a_broken_image_leaves_no_file(judge_images, tmp_path):
    said = judge_images("--out", tmp_path / "rows.jsonl", "--format", "jsonl", code=1).stderr
    assert "z.png cannot be decoded" in said
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_broken_image_is_skipped_on_demand(judge_images, tmp_path):
    out = tmp_path / "rows.jsonl"
    said = judge_images("--out", out, "--format", "jsonl", "--on-error", "skip").stderr
    assert "skipped 1 image or row." in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"].rpartition("/")[2] for row in rows] == ["0.png", "1.png", "2.png"]
