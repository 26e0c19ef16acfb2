"""The whole pipeline in a copy of the repository: what runs, what reruns, what survives."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ltood.runtime.params import read_params

ROOT = Path(__file__).resolve().parents[2]
#: The leaderboard depends on all settings; it always has a row for the chosen entries.
COMPARE = ["compare", "report"]
AFTER_SCORE_AND_COMPARE = ["score", "normalise", "evaluate", *COMPARE]
AFTER_EXTRACT = ["adapt", "visualise", "calibrate", *AFTER_SCORE_AND_COMPARE]
ALL = ["prepare", "train", "extract", *AFTER_EXTRACT]


class Workspace:
    """A committed copy of the working tree with a run that takes seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
            "DVC_SITE_CACHE_DIR": str(path.parent / "site"),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        listed = self._git_files()
        for name in listed:
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
        params = path / "params.yaml"
        text = re.sub(r"(?m)^(  epochs:) .*$", r"\1 1", params.read_text(), count=1)
        params.write_text(text)
        self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "copy")

    @staticmethod
    def _git_files() -> list[str]:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        wanted = ("ltood/", "stages/", "data/demo/", "data/weights/", ".dvc/")
        names = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore")
        return [
            name
            for name in done.stdout.splitlines()
            if (name.startswith(wanted) or name in names) and (ROOT / name).is_file()
        ]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.path, env=self.env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def stages_run(self, *command: str) -> list[str]:
        """Names of the stages that a DVC command really ran, after the one that always runs."""
        first, *others = re.findall(r"Running stage '(\w+)'", self.run(*command).stdout)
        assert first == "inputs"
        return others

    def experiment(self, *overrides: str) -> list[str]:
        arguments = [part for override in overrides for part in ("-S", override)]
        return self.stages_run("dvc", "exp", "run", *arguments)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("pipeline") / "copy")
    assert workspace.stages_run("dvc", "repro") == ALL
    return workspace


@pytest.mark.timeout(600)
def test_a_second_run_does_nothing(workspace):
    assert workspace.stages_run("dvc", "repro") == []


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
    shown = workspace.run("dvc", "metrics", "show").stdout
    assert "auroc" in shown
    workspace.run("dvc", "plots", "show")


#: Overrides, one after the other in the same workspace, and the stages that must run.
CHANGES = [
    (["methods.knn.k=10"], COMPARE),
    (["method=himplos"], AFTER_SCORE_AND_COMPARE),
    (["method=mahalanobis"], []),
    (["method=knn", "methods.knn.k=5"], AFTER_SCORE_AND_COMPARE),
    (["methods.knn.k=7"], AFTER_SCORE_AND_COMPARE),
    (["method=mahalanobis", "normaliser=imood"], ["normalise", "evaluate", *COMPARE]),
    (["normaliser=none", "calibrator=patt"], ["calibrate", *AFTER_SCORE_AND_COMPARE]),
    (
        ["calibrator=none", "recipe=logit_adjustment"],
        ["train", "extract", *AFTER_EXTRACT],
    ),
    # DVC restores no stage whose output is kept for resuming; what follows is restored, but
    # no leaderboard has had this method as its own row beside k = 7.
    (["recipe=cross_entropy"], ["train", "extract", *COMPARE]),
    (["datasets.demo.imbalance_ratio=0.1"], ALL),
]


@pytest.mark.timeout(900)
def test_a_change_reruns_exactly_what_it_must(workspace):
    for overrides, expected in CHANGES:
        assert workspace.experiment(*overrides) == expected, overrides
    table = workspace.run("dvc", "exp", "show", "--csv").stdout
    assert "mean.auroc" in table
    assert "himplos" in table


@pytest.mark.timeout(600)
def test_a_changed_weight_reaches_every_number(workspace):
    workspace.run("dvc", "repro")
    before = json.loads((workspace.path / "results/metrics.json").read_text())
    model = workspace.path / "data/work/checkpoint/model.safetensors"
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model)
    name = max(tensors, key=lambda key: tensors[key].size)
    tensors[name] = tensors[name] * np.float32(1.5)
    model.unlink()
    save_file(tensors, model)
    refused = workspace.run("dvc", "repro", "-s", "extract", check=False)
    assert refused.returncode != 0
    assert "has SHA-256" in refused.stderr
    document = workspace.path / "data/work/checkpoint/checkpoint.json"
    import hashlib

    content = json.loads(document.read_text())
    content["weights_sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
    document.unlink()
    document.write_text(json.dumps(content))
    downstream = ["extract", *AFTER_EXTRACT]
    command = ["dvc", "repro", "--force", "-s", *downstream]
    assert workspace.stages_run(*command) == downstream
    after = json.loads((workspace.path / "results/metrics.json").read_text())
    assert before["mean"]["auroc"] != after["mean"]["auroc"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("method=himplo", "himplo"),
        ("+methods.mahalanobis.rigde=2", "methods.mahalanobis has no key 'rigde'"),
        ("methods.mahalanobis.ridge=-1", "methods.mahalanobis.ridge is -1"),
        ("compare.methods=[knm]", "No method 'knm'. Did you mean knn"),
    ],
)
def test_bad_settings_end_in_one_line(workspace, override, sentence):
    done = workspace.run("dvc", "exp", "run", "-S", override, check=False)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    workspace.run("git", "checkout", "-q", "params.yaml")
