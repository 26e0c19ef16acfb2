"""From a folder of pictures to a report, a detector and verdicts, and what each change reruns."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ltood import compare, compare_runs
from ltood.core.errors import StoreError
from tests.pipeline.in_process import Stages

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import newcomer  # noqa: E402 - a script, which is run by hand too

pytest.importorskip("timm")


def shorten(content):
    """Keep what is used alone, since every stage reads the settings, and learn for a moment."""
    used = {"folder", "timm_model", "linear_probe", "none", "hpm", "energy", "msp"}
    for kind in ("datasets", "backbones", "recipes", "calibrators", "methods", "normalisers"):
        for name in set(content[kind]) - used:
            del content[kind][name]
    content["recipes"]["linear_probe"]["epochs"] = 5


def test_a_newcomers_path(tmp_path, monkeypatch):
    from ltood.cli import app

    stages = Stages()

    def ltood(*arguments: str) -> None:
        assert not app(list(arguments), standalone_mode=False)

    def repro(repository: Path) -> set[str]:
        monkeypatch.chdir(repository)
        return stages.repro()

    rows = newcomer.path_of_a_newcomer(
        newcomer.Commands(ltood, repro),
        tmp_path,
        newcomer.drawn(tmp_path),
        weights=newcomer.untrained(tmp_path / "untrained.pth"),
        settle=shorten,
        is_short=True,
    )
    assert len(rows) == 6
    for what, ran, wanted, _ in rows:
        assert ran == wanted, what


def test_pictures_without_an_ood_set_reach_the_end(tmp_path, monkeypatch):
    """Figures of the ID rows, a detector and a report that names the setting; then the same runs
    are compared by their accuracies, as `dvc plots` and other readers find what they look for.
    """
    from ltood.cli import app

    pictures, _, _ = newcomer.drawn(tmp_path)
    shutil.rmtree(pictures / "objects")
    weights = newcomer.untrained(tmp_path / "untrained.pth")
    repository = tmp_path / "project"
    given = ("--pictures", pictures, "--model", newcomer.MODEL, "--weights", weights)
    assert not app(["new", str(repository), *map(str, given)], standalone_mode=False)
    newcomer.change_settings(repository, lambda c: c["compare"].update(methods=["msp"]))
    newcomer.change_settings(repository, shorten)
    monkeypatch.chdir(repository)
    assert Stages().repro() == set(newcomer.STAGES)

    metrics = json.loads(Path("results/metrics.json").read_text())
    assert set(metrics) == {"id", "failures", "made_from"}
    assert set(json.loads(Path("results/summary.json").read_text())) <= {"accuracy", "accuracy_few"}
    assert json.loads(Path("results/leaderboard.json").read_text())["rows"] == []
    assert json.loads(Path("results/detector.json").read_text())["threshold"]["split"] == "val"
    drawn = {"plots/roc": {"set", "fpr", "tpr"}, "leaderboard": {"title", "auroc"}}
    for name, columns in drawn.items():
        (heading,) = Path(f"results/{name}.csv").read_text().splitlines()
        assert columns <= set(heading.split(","))
    epochs = Path("results/training.csv").read_text().splitlines()  # the head's own
    assert epochs[0] == "epoch,loss,val_accuracy"
    assert epochs[1].startswith("1,")
    page = Path("results/report.html").read_text(encoding="utf-8")
    assert "datasets.folder.ood" in page
    assert 'id="known"' in page

    compared = compare_runs({"final": ".", "raw": "data/work/scores/raw.zarr"})
    assert "accuracy" in compared.to_pandas().columns
    with pytest.raises(StoreError, match=r"datasets\.folder\.ood"):
        compare("data/work/features.zarr", methods=["energy"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_dvc_runs_the_same_stages(tmp_path):
    command = (sys.executable, ROOT / "benchmarks" / "newcomer.py", "--work", tmp_path / "work")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
