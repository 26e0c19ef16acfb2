import json

import pytest

OODD = ("--method", "oodd", "--set", "k_train=3", "--set", "batch=16", "--set", "orders=2")


@pytest.fixture
def streamed(ltood, store, tmp_path):
    """Scores of a stream method behind a calibrator."""
    path = tmp_path / "scores.zarr"
    ltood("score", "--store", store, "--out", path, *OODD, "--calibrator", "patt")
    return path


def test_metrics_tables_and_report_mark_the_row(ltood, streamed, tmp_path):
    metrics, page = tmp_path / "metrics.json", tmp_path / "report.html"
    said = ltood("evaluate", "--scores", streamed, "--out", metrics).stdout
    assert "transductive" in said
    assert "±" in said
    assert json.loads(metrics.read_text())["stream"]["orders"] == 2
    ltood("report", "--scores", streamed, "--out", page)
    assert "transductive" in page.read_text(encoding="utf-8").lower()


def test_verified_and_listed(ltood, streamed):
    assert "test" in ltood("store", "verify", streamed).stdout
    listed = ltood("list", "methods").stdout.splitlines()
    marked = {line.split()[0] for line in listed if line.endswith("[transductive]")}
    assert {"adaneg", "doda", "oodd", "tanl"} <= marked
    assert "knn" not in marked
    assert "Transductive" in ltood("list", "methods", "doda").stdout
    assert json.loads(ltood("list", "methods", "doda", "--json").stdout)["transductive"] is True


@pytest.mark.parametrize("command", ["export-detector", "sweep", "normaliser", "members"])
def test_commands_without_streams_refuse_it(ltood, store, tmp_path, command):
    common = ("--store", store, "--out", tmp_path / "out.safetensors")
    arguments = {
        "export-detector": ("export-detector", *common, "--method", "oodd"),
        "sweep": (
            *("sweep", "oodd", "--store", store, "--grid", "queue=8,16"),
            *("--out", tmp_path / "sweep.csv"),
        ),
        "normaliser": (
            *("score", *common, "--method", "oodd", "--normaliser", "imood"),
            *("--normaliser-set", "scale=1"),
        ),
        "members": ("score", *common, "--method", "ensemble", "--set", "members=[knn,oodd]"),
    }
    said = ltood(*arguments[command], code=1).stderr
    assert "oodd" in said
    assert "stream" in said
