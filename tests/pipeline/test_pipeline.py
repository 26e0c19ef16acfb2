"""The whole pipeline with the demo: what runs, what reruns, what survives. Takes minutes."""

import json
from typing import Any

import pytest

from ltood.runtime.params import read_params
from tests.pipeline.workspace import AFTER_EXTRACT, AFTER_SCORE, STAGES, Workspace

pytestmark = pytest.mark.slow

COMPARE = ["compare", "report"]
AFTER_NORMALISE = ["export", "evaluate", "compare", "examples", "report"]
AFTER_SCORE_AND_COMPARE = ["score", "normalise", *AFTER_NORMALISE]


def one_epoch(content: dict[str, Any]) -> None:
    content["training"]["epochs"] = 1


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("pipeline") / "copy", one_epoch)
    assert workspace.repro() == STAGES
    return workspace


@pytest.mark.timeout(600)
def test_metrics_plots_and_report_are_there(workspace):
    metrics = json.loads((workspace.path / "results/metrics.json").read_text())
    assert set(metrics) >= {"id", "ood", "mean"}
    assert len(metrics["ood"]) >= 4
    assert 0 < metrics["mean"]["auroc"] < 1
    html = (workspace.path / "results/report.html").read_text()
    assert "<svg" in html
    assert "All methods, percent" in html
    leaderboard = json.loads((workspace.path / "results/leaderboard.json").read_text())
    rows = {row["title"]: row for row in leaderboard["rows"]}
    assert {"energy", "himplos", "knn", "mahalanobis", "react"} <= set(rows)
    assert {row["status"] for row in rows.values()} == {"ok"}
    chosen = read_params(workspace.path / "params.yaml")["method"]
    assert rows[chosen]["mean"]["auroc"] == pytest.approx(metrics["mean"]["auroc"], abs=1e-6)
    shown = json.loads(workspace.run("dvc", "metrics", "show", "--json").stdout)
    [values] = [file["data"] for file in shown[""]["data"].values()]
    assert values["auroc"] == metrics["mean"]["auroc"]
    assert len(values) == 7
    workspace.run("dvc", "plots", "show")


#: Overrides, one after the other in the same workspace, and the stages that must run. The
#: leaderboard shows every method, so only another calibrator or normaliser adds a row to it.
CHANGES = [
    (["methods.knn.k=10"], COMPARE),
    (["method=himplos"], AFTER_SCORE),
    (["method=mahalanobis"], []),
    (["method=knn", "methods.knn.k=5"], AFTER_SCORE_AND_COMPARE),
    (["methods.knn.k=7"], AFTER_SCORE_AND_COMPARE),
    (["method=mahalanobis", "normaliser=imood"], ["normalise", *AFTER_NORMALISE]),
    (["normaliser=none", "calibrator=patt"], ["calibrate", *AFTER_SCORE_AND_COMPARE]),
    (["calibrator=none", "recipe=logit_adjustment"], ["train", "extract", *AFTER_EXTRACT]),
    # All is restored, but no report has shown this method beside a leaderboard with k = 7.
    (["recipe=cross_entropy"], ["report"]),
    (["datasets.demo.imbalance_ratio=0.1"], STAGES),
]


@pytest.mark.timeout(3600)
def test_a_change_reruns_exactly_what_it_must(workspace):
    for overrides, expected in CHANGES:
        assert workspace.experiment(*overrides) == expected, overrides
    table = workspace.run("dvc", "exp", "show", "--csv").stdout
    assert ",auroc," in table
    assert "himplos" in table


@pytest.mark.timeout(600)
def test_code_that_computes_features_reaches_every_number(workspace):
    """The scaling of a network lies in a room that no digest covered once."""
    workspace.run("dvc", "repro")
    metrics = workspace.path / "results/metrics.json"
    before = json.loads(metrics.read_text())
    path = workspace.path / "ltood/networks/scaled.py"
    text = path.read_text()
    old = "- self.mean) / self.std"
    assert text.count(old) == 1
    path.write_text(text.replace(old, f"{old} * 2"))
    assert workspace.repro()[:2] == ["train", "extract"]
    assert json.loads(metrics.read_text())["mean"]["auroc"] != before["mean"]["auroc"]
    path.write_text(f"# As it was.\n{text}")
    assert workspace.repro() == []
    assert json.loads(metrics.read_text()) == before


@pytest.mark.timeout(600)
def test_a_changed_weight_is_refused(workspace):
    model = workspace.path / "data/work/checkpoint/model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.unlink()
    model.write_bytes(content)
    refused = workspace.run("dvc", "repro", "--force", "-s", "extract", check=False)
    assert refused.returncode != 0
    assert "has SHA-256" in refused.stderr
