"""From a folder of pictures to a report, a detector and verdicts, and what each change reruns."""

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_dvc_runs_the_same_stages(tmp_path):
    command = (sys.executable, ROOT / "benchmarks" / "newcomer.py", "--work", tmp_path / "work")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
