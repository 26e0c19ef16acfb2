"""Folders in which cells run: files of now, whatever state the repository is in."""

import subprocess
import threading

import pytest

from ltood.core.errors import ConfigError
from ltood.runs.repository import git, repository
from ltood.runtime.claims import claim
from ltood.runtime.params import read_params
from ltood.tables import workspace
from ltood.tables.cells import cells_of
from tests.tables.table_samples import make_table

#: Settings of a user's git that change what it prints or writes.
ODD_GIT = """[diff]
    noprefix = true
    external = false
    relative = true
[color]
    ui = always
[core]
    quotePath = true
"""


@pytest.fixture(scope="module")
def cell():
    return cells_of(make_table())[0]


@pytest.fixture(autouse=True)
def own_git(tmp_path, monkeypatch):
    config = tmp_path / "gitconfig"
    config.write_text(f"[user]\n    name = a\n    email = a@b.c\n{ODD_GIT}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setattr(workspace, "cache_of", lambda root: str(root / ".dvc" / "cache"))


def make_repository(root, inside="."):
    folder = root / inside
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (folder / ".gitignore").write_text("/data/work/\n")
    (folder / "params.yaml").write_text("# Mine.\ndataset: demo\nseed: 7\n")
    (folder / "kept.py").write_text("x = 1\n")
    (folder / "gone.py").write_text("x = 1\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    git(root, "add", "--all")
    git(root, "commit", "-qm", "first")
    return folder


@pytest.mark.parametrize(("name", "inside"), [("plain", "."), ("with a blank", "sub folder")])
def test_a_cell_has_the_files_of_now(tmp_path, cell, name, inside):
    root = make_repository(tmp_path / name, inside)
    (root / "kept.py").write_text("x = 2\n")
    (root / "gone.py").unlink()
    (root / "staged.bin").write_bytes(bytes(range(256)))
    git(root, "add", "staged.bin")
    (root / "methods").mkdir()
    (root / "methods" / "própria.py").write_text("x = 3\n")
    (root / "large.npz").write_bytes(bytes(workspace._LARGEST + 1))
    deep = root / "deep" / "er"
    deep.mkdir(parents=True)
    assert repository(deep) == root
    # Twice: what is there already stands in nobody's way, and work goes on.
    for turn in range(2):
        folder = workspace.prepare(root, "small", cell)
        assert folder.is_relative_to(root / ".dvc" / "tmp" / "exps")
        assert (folder / "kept.py").read_text() == "x = 2\n"
        assert not (folder / "gone.py").exists()
        assert (folder / "staged.bin").read_bytes() == bytes(range(256))
        assert (folder / "methods" / "própria.py").read_text() == "x = 3\n"
        assert not (folder / "large.npz").exists()
        assert set(workspace.added(folder)) == {"staged.bin", "methods/própria.py"}
        assert read_params(folder / "params.yaml")["seed"] == cell.seed
        if turn:
            assert (folder / "data" / "work" / "state").read_text() == "half"
        (folder / "data" / "work").mkdir(parents=True, exist_ok=True)
        (folder / "data" / "work" / "state").write_text("half")
    # What was taken back in the repository is taken back in the copy.
    (root / "methods" / "própria.py").unlink()
    git(root, "checkout", "gone.py")
    folder = workspace.prepare(root, "small", cell)
    assert not (folder / "methods").exists()
    assert (folder / "gone.py").exists()


def test_what_a_killed_git_left_is_no_obstacle(tmp_path, cell):
    root = make_repository(tmp_path / "r")
    folder = workspace.prepare(root, "small", cell)
    (folder / "data" / "work").mkdir(parents=True)
    (folder / "data" / "work" / "state").write_text("half")
    (folder / ".git" / "index.lock").write_text("")
    workspace.prepare(root, "small", cell)
    assert (folder / "data" / "work" / "state").exists()
    (folder / ".git" / "HEAD").write_text("")
    workspace.prepare(root, "small", cell)
    assert (folder / "kept.py").exists()


@pytest.mark.parametrize("held", [workspace.RUNNING, workspace.LOCKS / "train"])
def test_a_run_that_outlives_its_parent_is_waited_for(tmp_path, cell, monkeypatch, held):
    pytest.importorskip("fcntl")
    root = make_repository(tmp_path / "r")
    path = workspace.prepare(root, "small", cell) / held
    path.parent.mkdir(parents=True, exist_ok=True)
    waits = threading.Event()
    with path.open("ab") as file:
        assert claim(file)

        def waited(_):
            waits.set()
            file.close()

        monkeypatch.setattr(workspace.time, "sleep", waited)
        workspace.prepare(root, "small", cell)
    assert waits.is_set()


def test_where_there_is_no_repository_or_no_commit(tmp_path):
    with pytest.raises(ConfigError, match=r"repository|DVC"):
        repository(tmp_path)
    (tmp_path / ".dvc").mkdir()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(ConfigError, match="commit"):
        repository(tmp_path)
