"""A stage that refuses the settings says how they differ from the last commit, once."""

import subprocess
from pathlib import Path

import pytest

from ltood.core.errors import ConfigError, StoreError
from ltood.pipeline._going_back import telling_how_to_go_back, way_back

FILE = Path("params.yaml")


def git(*command):
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, *command], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "with space" / "müll"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    FILE.write_text("method: knn\nmethods:\n  knn: {k: 5}\n")
    git("init", "-q", str(tmp_path))  # the file lies below the root
    git("add", "params.yaml")
    git("commit", "-qm", "first")
    return folder


def test_what_differs_is_named_with_the_command(repository):
    assert way_back(FILE) == ""
    FILE.write_text("method: msp  # other\nmethods:\n  knn: {k: 7}\n")
    note = way_back(FILE)
    assert "method was 'knn', now 'msp'" in note
    assert "methods.knn.k was 5, now 7" in note
    assert "git checkout params.yaml" in note
    git("checkout", "params.yaml")
    assert way_back(FILE) == ""


def test_comments_alone_are_no_difference(repository):
    FILE.write_text(f"# mine\n{FILE.read_text()}")
    assert way_back(FILE) == ""


@pytest.mark.parametrize(("kind", "told"), [(ConfigError, True), (StoreError, False)])
def test_errors_of_settings_carry_it(repository, kind, told):
    FILE.write_text("method: msp\n")
    with pytest.raises(kind, match="bad") as caught, telling_how_to_go_back(FILE):
        raise kind("bad")
    assert bool(getattr(caught.value, "__notes__", [])) == told


@pytest.mark.parametrize("content", ["method: [", None])
def test_a_file_that_cannot_be_compared_says_nothing(repository, content):
    FILE.unlink()
    if content is not None:
        FILE.write_text(content)
    assert way_back(FILE) == ""


def test_without_a_commit_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FILE.write_text("method: knn\n")
    assert way_back(FILE) == ""
    git("init", "-q")
    assert way_back(FILE) == ""


def test_an_experiment_in_a_folder_of_its_own_says_nothing(repository, monkeypatch):
    monkeypatch.setattr("ltood.pipeline._going_back.origin", lambda: repository)
    FILE.write_text("method: msp\n")
    assert way_back(FILE) == ""
