"""Records of the making of results: found by content, kept the first time, never a failure."""

import json
import os
import subprocess

import pytest

from ltood.runtime.records import Clock, git_state, machine, record_of


@pytest.fixture
def result(tmp_path, monkeypatch):
    """A result in a folder outside of a repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    path = tmp_path / "result.json"
    path.write_text("one")
    return path


def test_a_result_finds_its_record_again(result, tmp_path):
    folder = tmp_path / "runs" / "train"
    Clock.start().note(folder, result)
    first = record_of(folder, result)
    assert first["seconds"] >= 0
    assert first["git"] is None
    assert first["machine"] == machine()
    assert first["finished"].endswith("Z")
    result.write_text("two")
    assert record_of(folder, result) is None
    Clock.start().note(folder, result)
    result.write_text("one")
    assert record_of(folder, result) == first


def test_the_same_result_keeps_its_first_record(result, tmp_path):
    folder = tmp_path / "runs"
    Clock.start().note(folder, result)
    (path,) = folder.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 99.5}))
    Clock.start().note(folder, result)
    assert record_of(folder, result)["seconds"] == 99.5


def test_old_records_go(result, tmp_path, monkeypatch):
    monkeypatch.setattr("ltood.runtime.records._KEPT", 3)
    for number in range(6):
        result.write_text(str(number))
        Clock.start().note(tmp_path / "runs", result)
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert record_of(tmp_path / "runs", result) is not None


def test_a_record_stays_where_the_clock_was_put_back(result, tmp_path, monkeypatch):
    monkeypatch.setattr("ltood.runtime.records._KEPT", 2)
    for number in range(4):
        result.write_text(str(number))
        Clock.start().note(tmp_path / "runs", result)
        for path in (tmp_path / "runs").iterdir():
            os.utime(path, (2**32, 2**32))
    assert record_of(tmp_path / "runs", result) is not None
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_what_cannot_be_recorded_or_read_is_no_failure(result, tmp_path):
    Clock.start().note(tmp_path / "runs", tmp_path / "missing")
    assert record_of(tmp_path / "runs", tmp_path / "missing") is None
    (tmp_path / "file").write_text("")
    Clock.start().note(tmp_path / "file" / "runs", result)
    Clock.start().note(tmp_path / "runs", result)
    (path,) = (tmp_path / "runs").iterdir()
    for text in ("", "[]", "{}", '{"finished": 1, "seconds": "x"}', "\xff"):
        path.write_text(text, encoding="latin-1")
        assert record_of(tmp_path / "runs", result) is None


def test_the_commit_is_told_and_whether_it_is_all(result, tmp_path):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "result.json"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True, cwd=tmp_path)
    state = git_state()
    assert len(state["commit"]) == 40
    assert state["changed"] is False
    (tmp_path / "dvc.lock").write_text("new")  # Written by DVC while stages run.
    assert git_state() == state
    result.write_text("two")
    assert git_state() == {**state, "changed": True}
