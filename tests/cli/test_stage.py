import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("repository")
def test_help_of_a_stage_is_its_own(ltood):
    assert "Usage: ltood stage score" in ltood("stage", "score", "--help").stdout


@pytest.mark.usefixtures("repository")
def test_options_are_forwarded(ltood):
    assert "No such option" in ltood("stage", "score", "--bad", code=2).stderr


@pytest.mark.usefixtures("repository")
def test_stages_are_listed_and_near_names_offered(ltood):
    assert "prepare" in ltood("stage", "--help").stdout
    assert "Did you mean score" in ltood("stage", "scor", code=2).stderr


def test_elsewhere_there_is_no_pipeline(ltood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in ltood("stage", "score", code=1).stderr
    assert "none in this folder" in ltood("stage", "--help").stdout


@pytest.mark.usefixtures("repository")
def test_stages_run_as_modules():
    command = [sys.executable, "-m", "stages.score", "--bad"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_the_wheel_installs_ltood_alone(tmp_path):
    import zipfile

    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ltood"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "ltood/sets/catalogue.toml" in names
