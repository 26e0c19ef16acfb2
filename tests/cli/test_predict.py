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
    network = ("--checkpoint", images.checkpoint, "--device", "cpu")

    def run(*options, code=0):
        return ltood("predict", tmp_path / "d.json", images.folder, *network, *options, code=code)

    def watch(*options, code=0):
        folder = ("--watch", images.folder)
        return ltood("predict", tmp_path / "d.json", *folder, *network, *options, code=code)

    run.watch = watch
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
    run = ltood("predict", detector, one_bad, "--on-error", "raise", code=1)
    assert "--on-error row" in run.stderr
    assert run.stdout == ""


def test_a_row_that_cannot_be_judged_has_a_reason(ltood, detector, one_bad):
    rows = list(csv.DictReader(io.StringIO(ltood("predict", detector, one_bad, code=4).stdout)))
    assert [row["verdict"] == "error" for row in rows] == [False, True, False]
    assert [bool(row["reason"]) for row in rows] == [False, True, False]


@pytest.mark.parametrize(("limit", "code"), [(-1e9, 3), (1e9, 0)])
def test_exit_codes_tell_whether_an_input_is_ood(ltood, detector, folder, limit, code):
    arguments = ("predict", detector, folder / "test.npz", "--threshold", limit)
    ltood(*arguments, "--fail-on", "ood", code=code)
    said = ltood(*arguments, code=0).stderr
    assert said.startswith("60 inputs: " + ("0 ID, 60 OOD (100.0%)" if code else "60 ID, 0 OOD"))


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_the_format_is_that_of_the_ending(ltood, detector, folder, tmp_path, ending):
    out = tmp_path / f"rows.{ending}"
    assert ltood("predict", detector, folder / "test.npz", "--out", out).stdout == ""
    begin = {"jsonl": b'{"path"', "parquet": b"PAR1", "csv": b"path,id,"}[ending]
    assert out.read_bytes().startswith(begin)


def test_formats_that_go_nowhere(ltood, detector, folder, tmp_path):
    archive = folder / "test.npz"
    ltood("predict", detector, archive, "--format", "parquet", code=1)
    run = ltood("predict", detector, archive, "--out", tmp_path / "rows.json", code=1)
    assert "rows.json" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_a_table(ltood, detector, folder, monkeypatch):
    monkeypatch.setattr("ltood.cli.predict._is_terminal", lambda: True)
    shown = ltood("predict", detector, folder / "test.npz").stdout.splitlines()
    assert shown[0].split() == ["verdict", "score", "p", "class", "prob", "path"]
    assert len(shown) == 61


def test_skipped_rows_are_counted(ltood, detector, one_bad):
    run = ltood("predict", detector, one_bad, "--on-error", "skip")
    assert len(run.stdout.splitlines()) == 3
    assert "3 inputs: " in run.stderr
    assert "1 not judged" in run.stderr


def test_a_broken_image_leaves_no_file(judge_images, tmp_path):
    said = judge_images("--out", tmp_path / "rows.jsonl", "--on-error", "raise", code=1).stderr
    assert "z.png cannot be decoded" in said
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_broken_image_is_skipped_on_demand(judge_images, tmp_path):
    out = tmp_path / "rows.jsonl"
    said = judge_images("--out", out, "--format", "jsonl", "--on-error", "skip").stderr
    assert "1 not judged" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"].rpartition("/")[2] for row in rows] == ["0.png", "1.png", "2.png"]


def test_a_promise_says_what_it_rests_on(ltood, detector, folder):
    run = ltood("predict", detector, folder / "test.npz", "--fpr", 0.1, "--confidence", 0.5)
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    assert {row["verdict"] for row in rows} == {"ID", "OOD"}
    # 30 rows: the second largest at most, as Beta(3, 28) is below 0.1 in a half of all cases.
    limit = {row["threshold"] for row in rows}
    assert len(limit) == 1
    for row in rows:
        assert (row["verdict"] == "OOD") == (float(row["score"]) > float(min(limit)))
        assert (row["verdict"] == "OOD") == (float(row["p_value"]) <= 3 / 31)
    for said in ("30 calibration rows of val", "confidence 0.5", "on average", "assumes"):
        assert run.stderr.count(said) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--fpr", 0.1, "--per-group", "class_group"),
        ("--fpr", 0.4, "--class-mix", "uniform"),
        ("--fdr", 0.2),
        ("--sets", 0.2),
    ],
)
def test_promises_in_json_lines(ltood, detector, folder, options):
    archives = (folder / "test.npz", folder / "ood_far.npz")
    run = ltood("predict", detector, *archives, "--format", "jsonl", *options)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(rows) == 110
    assert all(0 < row["p_value"] <= 1 for row in rows)
    assert {row["verdict"] for row in rows} == {"ID", "OOD"}
    if "--sets" in options:
        assert all((row["verdict"] == "OOD") == (row["set"] == []) for row in rows)
    assert "assumes" in run.stderr


def test_a_class_mix_of_a_file(ltood, detector, folder, tmp_path):
    (tmp_path / "mix.json").write_text("[1, 1, 1]")
    shown = [
        ltood("predict", detector, folder / "test.npz", "--fpr", 0.4, "--class-mix", mix).stdout
        for mix in ("uniform", tmp_path / "mix.json")
    ]
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--fpr", 0), "fpr"),
        (("--fpr", 1.2), "fpr"),
        (("--fpr", 0.01), "99"),
        (("--confidence", 0.9), "fpr"),
        (("--fpr", 0.1, "--fdr", 0.1), "fdr"),
        (("--fpr", 0.1, "--threshold", 1), "--threshold"),
        (("--fpr", 0.1, "--class-mix", "gone.json"), "gone.json"),
        (("--sets", 0.05), "19"),
    ],
)
def test_promises_that_are_refused(ltood, detector, folder, options, key):
    run = ltood("predict", detector, folder / "test.npz", *options, code=1)
    assert run.stdout == ""
    assert key in run.stderr


def test_a_folder_that_fills(judge_images, ltood, tmp_path):
    out = tmp_path / "rows.csv"
    watched = judge_images.watch("--out", out, "--until-idle", 0, "--poll", 0.01, code=4)
    assert "4 inputs: " in watched.stderr
    with out.open(newline="") as file:
        rows = [row["path"].rpartition("/")[2] for row in csv.DictReader(file)]
    assert sorted(rows) == ["0.png", "1.png", "2.png", "z.png"]
    again = judge_images.watch("--out", out, "--until-idle", 0, "--poll", 0.01)
    assert "0 inputs: " in again.stderr
    shown = judge_images.watch("--until-idle", 0, "--poll", 0.01, "--format", "jsonl", code=4)
    assert len([json.loads(line) for line in shown.stdout.splitlines()]) == 4


def test_a_stream_is_compared_from_where_it_stopped(judge_images, tmp_path):
    options = ("--out", tmp_path / "rows.jsonl", "--until-idle", 0, "--poll", 0.01)
    drift = ("--reference-out", tmp_path / "drift.json")
    for code in (4, 0):
        judge_images.watch(*options, *drift, code=code)
        found = json.loads((tmp_path / "drift.json").read_text())
        assert (found["rows"], found["not_judged"]) == (3, 1)
        assert found["p_value"] == found["stream"]["p_value"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--out", "a.parquet"), "parquet"),
        (("--fdr", 0.2), "fdr"),
        (("--poll", 0), "--poll"),
        (("--until-idle", -1), "--until-idle"),
    ],
)
def test_watches_that_are_refused(judge_images, options, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert key in judge_images.watch(*options, code=1).stderr


def test_inputs_or_a_folder_to_watch(ltood, detector, folder, tmp_path):
    assert "--watch" in ltood("predict", detector, code=2).stderr
    ltood("predict", detector, folder / "test.npz", "--watch", tmp_path, code=1)
    ltood("predict", detector, folder / "test.npz", "--until-idle", 1, code=1)
    refused = ltood("predict", detector, "--watch", "--out", tmp_path / "a.csv", code=1).stderr
    assert "followed by --out" in refused


def test_drift_has_a_line_a_file_and_an_exit_code(ltood, detector, folder, tmp_path):
    out = tmp_path / "drift.json"
    calm = ("predict", detector, folder / "test.npz", "--reference")
    assert "no drift seen: p = " in ltood(*calm, "--fail-on", "drift").stderr
    far = ("predict", detector, folder / "ood_far.npz", "--fail-on", "drift")
    run = ltood(*far, "--reference-out", out, code=5)
    assert "drift: p = " in run.stderr
    found = json.loads(out.read_text())
    assert found["drift"]
    assert found["rows"] == 50
    assert found["reference"]["rows"] == 30
    # The same rows are like themselves.
    rows = tmp_path / "rows.csv"
    ltood("predict", detector, folder / "ood_far.npz", "--out", rows)
    ltood(*far, "--reference-from", rows)
    ltood(*far, code=1)
    ltood(*calm, "--drift-level", 0, code=1)
