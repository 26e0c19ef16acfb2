import re
import subprocess
import sys
from pathlib import Path

import pytest

from ltood.core.registry import available
from ltood.pipeline._code import STAGES

ROOT = Path(__file__).parents[2]


def test_help_of_a_stage_is_its_own(ltood):
    said = ltood("stage", "score", "--help").stdout
    assert said.startswith("Usage: ltood stage score\n\nScore every row")


@pytest.mark.parametrize("word", ["--bad", "more"])
def test_a_stage_takes_nothing_but_its_name(ltood, word):
    assert repr(word) in ltood("stage", "score", word, code=2).stderr


def test_stages_are_listed_and_near_names_offered(ltood):
    said = ltood("stage", "--help").stdout
    assert all(re.search(rf"^{name} +[A-Z]", said, re.MULTILINE) for name in ["inputs", *STAGES])
    assert "Did you mean score" in ltood("stage", "scor", code=2).stderr


def test_elsewhere_there_is_no_pipeline(ltood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in ltood("stage", "score", code=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_stage_runs_in_the_folder_of_its_settings(ltood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo").symlink_to(ROOT / "data/demo")
    ltood("stage", "inputs")
    assert (tmp_path / "data/work/inputs/data.json").is_file()


def test_the_stages_have_one_command_each():
    commands = {path.stem for path in (ROOT / "stages").glob("[!_]*.py")}
    assert commands == {"inputs", *STAGES} == set(available("pipeline"))


def test_stages_run_as_modules():
    command = [sys.executable, "-m", "stages.score", "--bad"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such option" in done.stderr
