from pathlib import Path

import pytest

from ltood.runtime.workspace import locate, origin


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Path:
    """A workspace with weights that git ignores, and the folder of an experiment within."""
    root = tmp_path.resolve()
    inner = root / ".dvc" / "tmp" / "exps" / "tmpabc"
    for folder in (inner / "data", root / "data"):
        folder.mkdir(parents=True)
    (root / "data" / "weights").write_text("")
    (root / "data" / "both").write_text("")
    (inner / "data" / "both").write_text("")
    monkeypatch.chdir(inner)
    return root


@pytest.mark.parametrize("kind", [Path, str])
def test_what_an_experiment_lacks_is_found_in_the_workspace(experiment, kind):
    assert locate(kind("data/weights")) == experiment / "data" / "weights"


@pytest.mark.parametrize("name", ["data/both", "data/neither", "/neither"])
def test_other_paths_stay(experiment, name):
    assert locate(name) == Path(name)


def test_only_folders_of_experiments_have_an_origin(experiment, monkeypatch):
    assert origin() == experiment
    assert origin(Path.cwd() / "data") == experiment
    assert origin(experiment / ".dvc" / "tmp" / "exps") is None
    monkeypatch.chdir(experiment)
    assert origin() is None
    assert locate("data/weights") == Path("data/weights")
