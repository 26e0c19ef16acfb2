"""The command line from outside, as a person or a script meets it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

LTOOD = [sys.executable, "-c", "from ltood.cli import main; main()"]


def ltood(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [*LTOOD, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three well separated classes and outliers far from all of them."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("arrays")
    means = 4 * np.eye(3, 8, dtype=np.float32)
    weight, bias = means.copy(), np.zeros(3, dtype=np.float32)
    np.savez(path / "head.npz", weight=weight, bias=bias, class_counts=np.array([60, 30, 10]))
    for name, rows in (("train", 100), ("test", 60)):
        labels = np.arange(rows) % 3
        features = np.abs(means[labels] + rng.normal(size=(rows, 8))).astype(np.float32)
        np.savez(path / f"{name}.npz", features=features, labels=labels)
    for name, rows in (("aux", 40), ("ood_far", 50), ("ood_near", 50)):
        features = np.abs(rng.normal(size=(rows, 8)) * (1 if "near" in name else 0.5))
        np.savez(path / f"{name}.npz", features=features.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "features.zarr"
    ltood("import", folder, "--store", path)
    return path


def test_from_arrays_to_metrics(store, tmp_path):
    scores, metrics = tmp_path / "scores.zarr", tmp_path / "metrics.json"
    ltood("score", "--store", store, "--method", "energy", "--out", scores)
    group = zarr.open_group(str(scores), mode="r")
    assert sorted(group.group_keys()) == ["aux", "ood_far", "ood_near", "test", "train"]
    assert group["test/scores"].dtype == np.float32
    assert group["test/predictions"].dtype == np.int64
    shown = ltood("evaluate", "--scores", scores, "--out", metrics).stdout
    assert "far" in shown
    content = json.loads(metrics.read_text())
    assert set(content) == {"id", "ood", "mean"}
    assert set(content["id"]) == {"accuracy", "many", "medium", "few"}
    wanted = {"auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out", "ap_in", "aupr_out", "aupr_in"}
    for row in (*content["ood"].values(), content["mean"]):
        assert wanted | {"num_id", "num_ood"} <= set(row)
    assert content["ood"]["far"]["auroc"] > 0.9
    assert content["ood"]["far"]["num_ood"] == 50


def test_all_three_slots(store, tmp_path):
    scores = tmp_path / "scores.zarr"
    arguments = ["--store", store, "--out", scores, "--method", "himplos"]
    arguments += ["--set", "percentile=60", "--set", "clip=1.6", "--calibrator", "patt"]
    arguments += ["--normaliser", "imood", "--normaliser-set", "scale=0.5", "--split", "test"]
    ltood("score", *arguments)
    group = zarr.open_group(str(scores), mode="r")
    attributes = group.attrs["ltood"]
    assert list(group.group_keys()) == ["test"]
    assert attributes["method"]["settings"]["clip"] == 1.6
    assert attributes["calibrator"]["name"] == "patt"
    assert attributes["normaliser"]["settings"]["scale"] == 0.5
    assert attributes["direction"] == "higher means more OOD"
    assert not list(tmp_path.glob(".*"))


def test_published_settings_are_a_start(store, tmp_path):
    scores = tmp_path / "scores.zarr"
    arguments = ["score", "--store", store, "--method", "himplos", "--out", scores]
    ltood(*arguments, "--published", "cifar10-densenet", "--set", "percentile=30")
    settings = zarr.open_group(str(scores), mode="r").attrs["ltood"]["method"]["settings"]
    assert (settings["clip"], settings["percentile"]) == (1.6, 30.0)
    out = tmp_path / "board"
    chosen = ["--method", "react", "--method", "msp", "--published", "imagenet-resnet50"]
    ltood("compare", "--store", store, "--out", out, *chosen)
    assert '"clip": 1.0' in (out / "leaderboard.json").read_text()


def test_the_way_back(store, folder, tmp_path):
    out = tmp_path / "test.npz"
    ltood("export", store, "--split", "test", "--out", out)
    with np.load(out) as back, np.load(folder / "test.npz") as given:
        np.testing.assert_array_equal(back["features"], given["features"])
        np.testing.assert_array_equal(back["labels"], given["labels"])
    ltood("export", store, "--split", "head", "--out", tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as back:
        assert back["class_counts"].tolist() == [60, 30, 10]


def test_existing_scores_are_kept_unless_told(store, tmp_path):
    scores = tmp_path / "scores.zarr"
    arguments = ("score", "--store", store, "--method", "msp", "--out", scores)
    ltood(*arguments)
    assert "pass --overwrite" in ltood(*arguments, code=1).stderr
    ltood(*arguments, "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--method", "enrgy"], "error: No method 'enrgy'. Did you mean energy"),
        (["--method", "energy", "--calibrator", "pat"], "No calibrator 'pat'. Did you mean patt"),
        (["--method", "react", "--published", "cifar"], "No published settings for 'cifar'"),
        (["--method", "energy", "--set", "temp=1"], "methods.energy has no key 'temp'"),
        (["--method", "energy", "--set", "temperature=0"], "methods.energy.temperature is 0"),
        (["--method", "energy", "--set", "temperature"], "--set takes KEY=VALUE"),
        (["--method", "energy", "--split", "nope"], "has no split 'nope'; it has train, test"),
        (["--method", "energy", "--device", "tpu"], "device"),
        (["--method", "knn", "--set", "k=1000"], "1000"),
    ],
)
def test_mistakes_end_in_one_line(store, tmp_path, arguments, sentence):
    done = ltood("score", "--store", store, "--out", tmp_path / "s.zarr", *arguments, code=1)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_end_with_2(store):
    assert "Missing option" in ltood("score", "--store", store, code=2).stderr
    assert "No such option" in ltood("score", "--nonsense", code=2).stderr
    assert "No such command" in ltood("nonsense", code=2).stderr


def test_stages_are_forwarded(tmp_path):
    assert "Usage: ltood stage score" in ltood("stage", "score", "--help").stdout
    assert "No such option" in ltood("stage", "score", "--bad", code=2).stderr
    assert "Did you mean score" in ltood("stage", "scor", code=2).stderr
    assert "prepare" in ltood("stage", "--help").stdout
    code = f"import os; os.chdir({str(tmp_path)!r}); from ltood.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "stage", "score"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "params.yaml does not exist" in done.stderr


def test_stage_usage_through_python_m():
    command = [sys.executable, "-m", "stages.score", "--bad"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_lists(tmp_path):
    assert "energy" in ltood("list", "methods").stdout
    entries = json.loads(ltood("list", "methods", "--json").stdout)
    types = {value["type"] for entry in entries for value in entry["settings"].values()}
    assert "a number or 'auto' or null" in types  # In the words of error messages.
    assert not any("class" in name or "typing" in name for name in types)
    knn = next(entry for entry in entries if entry["name"] == "knn")
    assert knn["needs"] == ["train"]
    assert knn["settings"]["k"]["default"] == 50
    assert "No kind 'x'" in ltood("list", "x", code=1).stderr


def test_store_commands(store, tmp_path):
    assert json.loads(ltood("store", "info", store).stdout)["kind"] == "features"
    assert "ok" in ltood("store", "verify", store).stdout
    copy = tmp_path / "copy.zarr"
    subprocess.run(["cp", "-r", store, copy], check=True)
    chunk = copy / "ood_far" / "features" / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[3] ^= 0x10
    chunk.write_bytes(bytes(raw))
    said = ltood("store", "verify", copy, code=1).stderr
    assert "ood_far/features/c/0/0" in said
    assert "its bytes changed" in said
    assert "is no store" in ltood("store", "info", tmp_path / "none", code=1).stderr


def test_a_report_needs_no_pipeline(store, tmp_path):
    scores, out = tmp_path / "scores.zarr", tmp_path / "new" / "report.html"
    ltood("score", "--store", store, "--method", "energy", "--out", scores)
    ltood("compare", "--store", store, "--out", tmp_path, "--method", "energy", "--method", "msp")
    board = ("--leaderboard", tmp_path / "leaderboard.json")
    ltood("report", "--scores", scores, "--out", out, *board, "--title", "Mine & <yours>")
    page = out.read_text()
    assert "Mine &amp; &lt;yours&gt;" in page
    assert ">msp</" in page
    ltood("report", "--scores", scores, "--out", out)
    assert ">msp</" not in out.read_text()
    missing = ("--leaderboard", tmp_path / "none.json")
    run = ltood("report", "--scores", scores, "--out", out, *missing, code=1)
    assert "none.json is missing; run the compare" in run.stderr


@pytest.mark.parametrize("command", [["compare"], ["sweep", "knn", "--grid", "k=1,2"]])
def test_a_file_in_the_way_is_met_before_the_work(command, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        run = ltood(*command, "--store", tmp_path / "none.zarr", "--out", out, code=1)
        assert f"--out is {out}, but {tmp_path / 'file'} is a file; name a folder" in run.stderr


@pytest.mark.parametrize("content", ["", "methods:\n", "# Mine.\nmethods:\n  msp:\n"])
def test_init_fills_what_is_empty(content, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    ltood("init", "--params", path)
    assert "nothing is missing" in ltood("init", "--params", path, "--check").stdout
    assert ("# Mine." in path.read_text()) == ("# Mine." in content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "holds list; it must be a mapping"),
        ("a: [b\n", "is not valid YAML"),
        ("methods: all\n", "methods is 'all'; it must be a mapping of names"),
    ],
)
def test_init_leaves_what_it_cannot_read(content, message, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    run = ltood("init", "--params", path, code=1)
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert path.read_text() == content


def test_init_writes_missing_sections(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("method: energy  # mine\nmethods:\n  energy:\n    temperature: 2.0\n")
    assert "lacks the sections" in ltood("init", "--params", path, "--check", code=1).stderr
    ltood("init", "--params", path)
    text = path.read_text()
    assert "# mine" in text
    assert "temperature: 2.0" in text
    assert "himplos:" in text
    assert "nothing is missing" in ltood("init", "--params", path, "--check").stdout


@pytest.mark.parametrize("arguments", [["list", "methods"], ["stage", "compare"]])
def test_an_interrupt_is_told_once(arguments):
    code = (
        "import sys, unittest.mock as mock\n"
        "from ltood.cli import main\n"
        "import ltood.cli.listing, stages.compare\n"
        "stop = mock.Mock(side_effect=KeyboardInterrupt)\n"
        "ltood.cli.listing.available = stages.compare.params = stop\n"
        f"sys.argv = ['ltood', *{arguments!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "interrupted; run the same command again to go on.\n"


def test_doctor():
    said = ltood("doctor").stdout
    assert "faiss" in said
    assert "torch" in said


@pytest.mark.parametrize(
    "command", [[], ["score"], ["import"], ["evaluate"], ["report"], ["list"], ["store"]]
)
def test_help_is_quick(command):
    """Half a second of processor time, whatever else the machine does."""
    code = (
        "import sys, time; from ltood.cli import main\n"
        f"sys.argv = ['ltood', *{command!r}, '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'zarr', 'faiss', 'matplotlib', 'numpy'} & sys.modules.keys()\n"
        "print(time.process_time(), sorted(heavy), file=sys.stderr)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, _, heavy = done.stderr.strip().partition(" ")
    assert heavy == "[]"
    assert float(seconds) < 0.5, time.monotonic() - start
