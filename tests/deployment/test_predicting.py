"""Verdicts on archives, image files and folders."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DIM
from PIL import Image

from ltood.core.errors import (
    ConfigError,
    DataError,
    MissingNeedError,
    StoreError,
)
from ltood.deployment.judging import BadInputs
from ltood.deployment.predicting import predict_files
from tests.deployment.detector_samples import NAMES


def test_archive_of_features(detector, folder, rows, tmp_path):
    found = list(predict_files(detector, [folder / "test.npz"]))
    whole = detector.predict(rows)
    assert [row.score for row in found] == whole.scores.tolist()
    assert [row.verdict == "OOD" for row in found] == whole.is_ood.tolist()
    assert [row.class_name for row in found] == [NAMES[label] for label in whole.classes]
    assert [row.nearest[0][0] for row in found] == [NAMES[label] for label in whole.nearest[:, 0]]
    assert [row.id for row in found] == list(range(40))
    np.savez(tmp_path / "two.npz", features=rows[:2], ids=np.array([7, 5]))
    twice = list(predict_files(detector, [tmp_path / "two.npz"] * 2))
    assert [row.id for row in twice] == [7, 5, 7, 5]


def test_bad_rows_of_an_archive(detector, rows, tmp_path, capsys):
    bad = rows.astype(np.float64)
    bad[1], bad[4] = np.inf, 1e39  # The latter is beyond float32.
    np.savez(tmp_path / "bad.npz", features=bad)
    with pytest.raises(DataError, match=r"bad.npz: features of rows 1, 4 hold NaN"):
        list(predict_files(detector, [tmp_path / "bad.npz"], bad=BadInputs("raise")))
    counting = BadInputs()
    every = list(predict_files(detector, [tmp_path / "bad.npz"], bad=counting))
    assert [row.id for row in every] == list(range(40))
    assert [row.id for row in every if row.verdict == "error" and row.reason] == [1, 4]
    assert counting.count == 2
    assert capsys.readouterr().err == ""
    skipping = BadInputs("skip")
    found = list(predict_files(detector, [tmp_path / "bad.npz"], bad=skipping))
    assert [row.id for row in found] == [n for n in range(40) if n not in (1, 4)]
    assert skipping.count == 2
    assert "skipped: " in capsys.readouterr().err
    np.savez(tmp_path / "all.npz", features=np.full((3, DIM), np.nan))
    assert list(predict_files(detector, [tmp_path / "all.npz"], bad=skipping)) == []


def test_rows_whose_score_overflows(detector, rows, tmp_path, capsys):
    huge = rows.copy()
    huge[[2, 7]] = 3e38
    np.savez(tmp_path / "huge.npz", features=huge, ids=np.arange(40) + 100)
    with pytest.raises(DataError, match=r"huge.npz id 102, .*huge.npz id 107: method energy gave"):
        list(predict_files(detector, [tmp_path / "huge.npz"], bad=BadInputs("raise")))
    every = list(predict_files(detector, [tmp_path / "huge.npz"]))
    assert [row.id for row in every] == list(range(100, 140))
    assert [row.id for row in every if row.verdict == "error"] == [102, 107]
    bad = BadInputs("skip")
    found = list(predict_files(detector, [tmp_path / "huge.npz"], bad=bad))
    assert bad.count == 2
    assert [row.id for row in found] == [n for n in range(100, 140) if n not in (102, 107)]
    kept = np.delete(rows, [2, 7], axis=0)
    np.testing.assert_allclose([row.score for row in found], detector.score(kept), rtol=1e-6)
    assert "skipped: " in capsys.readouterr().err
    np.savez(tmp_path / "none.npz", features=huge[[2, 7]])
    assert list(predict_files(detector, [tmp_path / "none.npz"], bad=bad)) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.zeros((2, 3))}, rf"shape \[2, 3\] but the detector was fitted on {DIM}"),
        ({"features": np.zeros((2, DIM), bool)}, "features are bool; they must be numbers"),
        ({"features": np.zeros((2, DIM)), "ids": np.zeros(3, int)}, "ids are int64 of shape"),
        ({"weights": np.zeros(2)}, "holds weights; it needs an array features"),
        ({"images": np.zeros((2, 4, 4))}, r"images are float64 of shape \[2, 4, 4\]"),
    ],
)
def test_archives_that_do_not_fit(arrays, message, detector, tmp_path):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(DataError, match=message):
        list(predict_files(detector, [tmp_path / "odd.npz"]))


def test_archived_local_features(local_detector, rows, tmp_path):
    local = np.stack([rows, rows], axis=1)
    np.savez(tmp_path / "fine.npz", features=rows, local=local)
    found = [row.score for row in predict_files(local_detector, [tmp_path / "fine.npz"])]
    np.testing.assert_allclose(found, rows.mean(axis=1), rtol=1e-5)
    np.savez(tmp_path / "short.npz", features=rows, local=local[:3])
    with pytest.raises(DataError, match=r"local has shape .* for 40 rows"):
        list(predict_files(local_detector, [tmp_path / "short.npz"]))
    np.savez(tmp_path / "none.npz", features=rows)
    with pytest.raises(MissingNeedError, match="reads local features"):
        predict_files(local_detector, [tmp_path / "none.npz"])


def test_images_score_as_their_features(samples):
    with np.load(samples.folder.parent / "arrays" / "val.npz") as archive:
        wanted = samples.detector.score(archive["features"])
    found = list(
        predict_files(
            samples.detector,
            [samples.folder.parent / "images.npz"],
            checkpoint=samples.checkpoint,
            batch_size=5,
        )
    )
    np.testing.assert_allclose([row.score for row in found], wanted, rtol=1e-4, atol=1e-5)
    assert [row.id for row in found] == list(range(24))
    files = list(predict_files(samples.detector, [samples.folder], checkpoint=samples.checkpoint))
    assert [Path(row.path).name for row in files] == ["0.png", "1.png", "2.png"]
    assert [row.id for row in files] == [None] * 3
    np.testing.assert_allclose([row.score for row in files], wanted[:3], rtol=1e-4, atol=1e-5)


def test_images_need_a_backbone(samples):
    named = samples.recorded(
        checkpoint={"weights_sha256": samples.weights_sha256}, backbone={"name": "cifar_resnet"}
    )
    wanted = rf"cifar_resnet \(weights {samples.weights_sha256[:12]}…\): .* --checkpoint"
    with pytest.raises(MissingNeedError, match=wanted):
        list(predict_files(named, [samples.folder]))
    with pytest.raises(StoreError, match="holds no checkpoint"):
        list(predict_files(named, [samples.folder], checkpoint=samples.folder))
    assert len(list(predict_files(named, [samples.folder], checkpoint=samples.checkpoint))) == 3


def test_a_damaged_network_beside_a_detector_is_to_be_copied_again(samples, tmp_path):
    beside = shutil.copytree(samples.checkpoint, tmp_path / "detector.network")
    with (beside / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(StoreError) as caught:
        predict_files(samples.detector, [samples.folder], checkpoint=beside)
    assert "copy that folder" in caught.value.__notes__[0]


@pytest.mark.parametrize("folder", ["/", "/proc/self", "/sys", "/dev", "/dev/shm"])
def test_folders_of_the_system_are_not_walked(samples, folder, monkeypatch):
    monkeypatch.setattr("ltood.deployment.inputs.images_below", lambda path: pytest.fail("called"))
    with pytest.raises(DataError, match="folder of the system"):
        list(predict_files(samples.detector, [Path(folder)], checkpoint=samples.checkpoint))


def test_linked_folders_are_read_and_what_is_not_is_said(samples, tmp_path, capsys):
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    Image.fromarray(samples.images[0]).save(elsewhere / "a.png")
    (here / "linked").symlink_to(elsewhere)
    (here / "dangling.png").symlink_to(tmp_path / "gone.png")
    (here / "notes.txt").write_text("x")
    found = predict_files(samples.detector, [here], checkpoint=samples.checkpoint)
    assert [row.path for row in found] == [str(here / "linked" / "a.png")]
    said = capsys.readouterr().err
    assert "dangling.png" in said
    assert ".txt 1" in said


#: Names that a list of one path a line cannot hold.
_ODD = ("two\nlines.png", os.fsdecode(b"latin\xff.png"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_spoil_no_folder(samples, tmp_path):
    for name in (*_ODD, "plain.png"):
        Image.fromarray(samples.images[0]).save(tmp_path / name)
    found = list(predict_files(samples.detector, [tmp_path], checkpoint=samples.checkpoint))
    assert {row.path for row in found} == {str(tmp_path / name) for name in (*_ODD, "plain.png")}
    assert len({row.score for row in found}) == 1


def test_missing_inputs(samples, tmp_path):
    for path, message in ((tmp_path / "gone", "gone does not exist; give"), (tmp_path, "no image")):
        with pytest.raises(DataError, match=message):
            list(predict_files(samples.detector, [path], checkpoint=samples.checkpoint))
    with pytest.raises(DataError, match=r"gone.npz does not exist"):
        predict_files(
            samples.detector, [samples.folder.parent / "images.npz", tmp_path / "gone.npz"]
        )
    with pytest.raises(ConfigError, match="batch size is 0"):
        list(predict_files(samples.detector, [], batch_size=0))
