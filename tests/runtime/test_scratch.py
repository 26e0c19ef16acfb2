"""Scratch folders: gone at the end, and those of killed processes with the next one."""

import subprocess
import sys
import tempfile

import pytest

from ltood.runtime.files import MACHINE
from ltood.runtime.scratch import scratch_folder, sweep_scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of temporary files of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_there_for_the_block_and_gone_after_it(place):
    with scratch_folder() as folder:
        (folder / "inner").mkdir()
        assert list(place.iterdir()) == [folder]
        with scratch_folder() as other:
            assert folder.exists()
            assert other != folder
    with pytest.raises(RuntimeError), scratch_folder():
        raise RuntimeError
    assert not list(place.iterdir())


def test_what_a_killed_process_left_goes_and_a_live_one_keeps_its_own(place):
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from ltood.runtime.scratch import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'file').write_text('x'); print(folder, flush=True)\n"
        "    if input() == 'die': os._exit(9)"
    )
    command = [sys.executable, "-c", code, str(place)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        folder = place / process.stdout.readline().strip()
        sweep_scratch()
        assert (folder / "file").exists()
        process.communicate("die\n")
    assert folder.exists()
    sweep_scratch()
    assert not folder.exists()


def test_what_is_not_ours_stays(place):
    (place / "ltood-notes").mkdir()
    (place / "ltood-another0-x.tmp").mkdir()  # Of another machine, whose locks may not be seen.
    (place / f"ltood-{MACHINE}-file.tmp").write_text("")
    (place / "target").mkdir()
    (place / f"ltood-{MACHINE}-link.tmp").symlink_to(place / "target")
    before = sorted(place.iterdir())
    with scratch_folder():
        pass
    assert sorted(place.iterdir()) == before


def test_without_locks_a_folder_is_made_all_the_same(place, monkeypatch):
    monkeypatch.setattr("ltood.runtime.scratch._locked", lambda path: None)
    with scratch_folder() as folder:
        assert list(place.iterdir()) == [folder]
        # Others may see locks where this one has none.
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        sweep_scratch()
        assert folder.exists()
    assert not list(place.iterdir())
