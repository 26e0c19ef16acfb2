import json
import subprocess
import sys

import pytest

NAMED = {"auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out", "ap_in", "aupr_out", "aupr_in"}


@pytest.fixture
def evaluated(ltood, scores, tmp_path):
    out = tmp_path / "metrics.json"
    shown = ltood("evaluate", "--scores", scores, "--out", out, "--plots", tmp_path / "plots")
    return shown.stdout, json.loads(out.read_text()), tmp_path / "plots"


def test_the_table_names_the_sets(evaluated):
    assert {"far", "near", "mean"} <= {line.split()[0] for line in evaluated[0].splitlines()}


@pytest.mark.parametrize("row", ["far", "near", "mean"])
def test_the_file_holds_every_metric(evaluated, row):
    content = evaluated[1]
    values = content["mean"] if row == "mean" else content["ood"][row]
    assert NAMED | {"num_id", "num_ood"} <= set(values)
    assert values["auroc"] > 0.9


def test_the_file_holds_accuracies_by_group(evaluated):
    assert {"accuracy", "many", "medium", "few"} <= set(evaluated[1]["id"])


def test_curves_are_written(evaluated):
    assert list(evaluated[2].glob("*.csv"))


def test_unknown_columns_write_nothing(ltood, scores, tmp_path):
    out = tmp_path / "metrics.json"
    run = ltood("evaluate", "--scores", scores, "--out", out, "--columns", "pascal", code=1)
    assert "pascal" in run.stderr
    assert not out.exists()


def test_the_result_can_go_to_standard_output(scores):
    code = "from ltood.cli import main; main()"
    command = [sys.executable, "-c", code, "evaluate", "--scores", scores, "--out", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) >= {"id", "ood", "mean"}
    assert "far" in done.stderr
