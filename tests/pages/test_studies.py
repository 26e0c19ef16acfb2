"""docs/tutorials/long-tail.md and clip.md: their runs in a repository, on stand-ins; by hand.

Minutes of training: `pytest -m slow tests/pages/test_studies.py`. In the gate the settings of the
same commands are checked.
"""

import json
import subprocess
import sys

import pytest

from tests.pages.running import DOCS
from tests.pages.test_settings_on_pages import runs
from tests.pipeline.workspace import ROOT, Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
#: What names data, the size of the network or the length of training: the stand-ins have others.
LEFT_OUT = ("dataset", "datasets.", "backbones.cifar_resnet", "training.epochs", "training.batch")


@pytest.fixture
def study(tmp_path):
    """A repository that trains for one epoch on the demo, and compares little."""

    def change(content):
        content["training"]["epochs"] = 1
        content["compare"]["methods"] = ["msp"]

    return Workspace(tmp_path / "study", change)


def experiment(study, settings):
    """Run one experiment; returns its metrics."""
    words = [word for key, value in settings for word in ("-S", f"{key}={value}")]
    study.run("dvc", "exp", "run", *words)
    return json.loads((study.path / "results/metrics.json").read_text())


def test_long_tail(study):
    for settings in runs((DOCS / "tutorials/long-tail.md").read_text(encoding="utf-8")):
        kept = [pair for pair in settings if not pair[0].startswith(LEFT_OUT)]
        metrics = experiment(study, kept)
        assert 0 < metrics["mean"]["auroc"] <= 1


def test_clip(study):
    weights = study.path / "data/weights"
    subprocess.run(
        [sys.executable, ROOT / "benchmarks/make_small_clip.py", weights], cwd=ROOT, check=True
    )
    stand_ins = {
        "training.weights": "data/weights/small_clip.safetensors",
        "backbones.clip.views": "2",
        "recipes.coop.shots": "2",
        "recipes.locoop.shots": "2",
        "recipes.locoop.topk": "3",
        "recipes.sct.shots": "2",
        "recipes.fa.shots": "2",
    }
    seen = []
    for settings in runs((DOCS / "tutorials/clip.md").read_text(encoding="utf-8")):
        kept = [(key, stand_ins.get(key, value)) for key, value in settings]
        if ("backbone", "clip") in kept:
            kept.append(("backbones.clip.model", "data/weights/small_clip.json"))
        seen.append(experiment(study, kept)["mean"]["auroc"])
    assert len(seen) == 7
    study.run("ltood", "visualise", "--head", "data/work/head", "--split", "test", "--num", "12",
              "--out", "regions.png")  # fmt: skip
    assert (study.path / "regions.png").is_file()
