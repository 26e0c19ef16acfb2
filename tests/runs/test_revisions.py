"""Experiments read from git and DVC's cache, with nothing checked out."""

import json

import pytest

from ltood.core.errors import ConfigError, DataError, UnknownNameError
from ltood.runs.repository import git
from ltood.runs.revisions import experiments, revision
from ltood.runs.sources import open_runs
from tests.runs.run_samples import Repository, files_of, write_scores

SCORES = "data/work/scores/final.zarr"


@pytest.mark.parametrize("inside", [".", "sub folder"])
def test_results_of_an_experiment_are_those_it_made(tmp_path, inside):
    repository = Repository(tmp_path / "ä b", inside)
    repository.experiment("first", seed=3)
    before = files_of(repository.root)
    found = revision(repository.root, "first").fetch(SCORES, tmp_path / "scratch")
    wanted = write_scores(tmp_path / "wanted.zarr", seed=3)
    assert files_of(found) == files_of(wanted)
    assert files_of(repository.root) == before


def test_a_part_of_a_folder_can_be_had(tmp_path):
    repository = Repository(tmp_path / "repository")
    repository.experiment("first")
    state = revision(repository.root, "first")
    part = state.fetch(f"{SCORES}/zarr.json", tmp_path / "scratch")
    whole = state.fetch(SCORES, tmp_path / "other")
    assert part.read_bytes() == (whole / "zarr.json").read_bytes()
    assert state.fetch("data/work/none", tmp_path / "scratch") is None


def test_settings_are_those_of_the_lock(tmp_path):
    repository = Repository(tmp_path / "repository")
    repository.experiment("first", "msp", seed=2)
    settings = revision(repository.root, "first").settings()
    assert settings == {"seed": 2, "method": "msp", "methods.msp.temperature": 1.0}
    assert revision(repository.root, "first").settings("train") == {}


def test_a_commit_is_known_as_its_experiment(tmp_path):
    repository = Repository(tmp_path / "repository")
    commit = repository.experiment("first")
    assert revision(repository.root, commit[:10]).name == "first"
    assert [found.name for found in experiments(repository.root)] == ["first"]
    assert revision(repository.root, "HEAD").fetch(SCORES, tmp_path) is None


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    repository = Repository(tmp_path / "repository")
    repository.experiment("first")
    with pytest.raises(UnknownNameError, match="first"):
        revision(repository.root, "frist")
    monkeypatch.chdir(repository.root)
    with pytest.raises(DataError, match="HEAD"):
        open_runs(["HEAD"], tmp_path / "scratch")
    for file in (repository.root / ".dvc" / "cache").rglob("*.dir"):
        file.unlink()
    with pytest.raises(DataError, match="first"):
        open_runs(["first"], tmp_path / "scratch")


def test_two_experiments_of_one_name_are_refused(tmp_path):
    repository = Repository(tmp_path / "repository")
    commit = repository.experiment("same")
    for other in ("cd", "ef"):
        git(repository.root, "update-ref", f"refs/exps/ab/{other * 19}/same", commit)
    head = repository.head
    assert revision(repository.root, "same").baseline == head  # That of the current commit wins.
    git(repository.root, "update-ref", "-d", f"refs/exps/{head[:2]}/{head[2:]}/same")
    with pytest.raises(ConfigError, match="same"):
        revision(repository.root, "same")


def test_a_cache_that_leads_out_of_its_folder_is_refused(tmp_path):
    repository = Repository(tmp_path / "repository")
    commit = repository.experiment("first")
    for file in (repository.root / ".dvc" / "cache").rglob("*.dir"):
        listed = json.loads(file.read_bytes())
        file.write_text(json.dumps([{**item, "relpath": "../../out"} for item in listed]))
    with pytest.raises(DataError, match="outside"):
        revision(repository.root, commit).fetch(SCORES, tmp_path / "scratch")
    assert not (tmp_path / "scratch" / "out").exists()
