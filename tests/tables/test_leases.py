"""A lock between processes, and between machines that do not see one another's locks."""

import os
import subprocess
import sys

import pytest

from ltood.tables import leases
from ltood.tables.leases import is_held, lease


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "locks" / "cell"
    with lease(path) as first:
        assert first
        assert is_held(path)
        with lease(path) as second:
            assert not second
    assert not is_held(path)
    with lease(path) as again:
        assert again


def test_a_killed_holder_of_this_machine_leaves_it_free_at_once(tmp_path):
    path = tmp_path / "cell"
    code = (
        "import os, sys; from pathlib import Path; from ltood.tables.leases import lease\n"
        "with lease(Path(sys.argv[1])): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 9
    assert path.read_text().startswith(os.uname().nodename)
    with lease(path) as ours:
        assert ours


def test_another_machine_holds_it_as_long_as_it_touches_the_file(tmp_path):
    path = tmp_path / "cell"
    path.write_text("another-host 17\n")
    with lease(path) as ours:
        assert not ours
    assert is_held(path)
    old = path.stat().st_mtime - leases.STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert not is_held(path)
    with lease(path) as ours:
        assert ours
    assert list(tmp_path.iterdir()) == [path]


def test_a_clock_that_was_put_back_does_not_hold_it_for_ever(tmp_path):
    path = tmp_path / "cell"
    path.write_text("another-host 17\n")
    later = path.stat().st_mtime + leases.STALE_SECONDS + 100
    os.utime(path, (later, later))
    assert not is_held(path)
    with lease(path) as ours:
        assert ours


def test_the_holder_touches_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    path = tmp_path / "cell"
    with lease(path):
        os.utime(path, (0, 0))
        for _ in range(500):
            if path.stat().st_mtime > 1:
                break
            leases.time.sleep(0.01)
        assert path.stat().st_mtime > 1


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(file):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(leases, "claim", refuse)
    with lease(tmp_path / "cell") as ours:
        assert ours
    pytest.importorskip("fcntl")
