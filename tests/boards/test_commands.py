"""`ltood table verify` and `board` in this process."""

import shutil

import pytest

from ltood.boards.record import FOLDER, Record
from ltood.cli import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["ltood", "table", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, capsys.readouterr()

    return call


def test_a_record_is_verified_or_refused(run, content, board_store, tmp_path):
    Record.of(content).write()
    store = ("--store", board_store.path, "--device", "cpu")
    code, printed = run("verify", FOLDER, *store)
    assert code == 0
    assert [line.split()[0] for line in printed.out.splitlines()] == ["exact", "exact"]
    assert run("verify", FOLDER)[0] == 1
    assert run("verify", FOLDER, "--skip")[0] == 0
    content["runs"][0]["metrics"]["ood"]["far"]["auroc"] -= 0.2
    content["runs"][0]["metrics"]["mean"]["auroc"] -= 0.1
    Record.of(content).write()
    code, printed = run("verify", FOLDER, *store)
    assert code == 1
    assert printed.out.startswith("OFF")
    # The features of a pipeline are at hand without being named.
    (tmp_path / "data/work").mkdir(parents=True)
    shutil.copytree(board_store.path, tmp_path / "data/work/features.zarr")
    assert run("verify", FOLDER, "--skip")[0] == 1


def test_the_page_is_written(run, content, tmp_path):
    Record.of(content).write()
    assert run("board")[0] == 0
    assert "kNN &amp; more" in (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
