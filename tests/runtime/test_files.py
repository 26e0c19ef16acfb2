import errno
import os
import subprocess
import sys
import threading

import pytest

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime import files
from ltood.runtime.files import (
    read_json,
    remove_folder,
    replace_together,
    sweep_temporaries,
    write_atomically,
    write_folder,
    writing,
)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def ended_process():
    """Number of a process that has ended."""
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def temporary(name, process):
    return f".{name}.{files.MACHINE}-{process}-0.tmp"


def test_a_file_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"deep/file: No space left on device"):
            write_atomically(path, b"new")
    assert content(path.parent) == {"file": b"old"}
    write_atomically(path, b"new")
    assert content(path.parent) == {"file": b"new"}


def test_an_error_in_the_block_keeps_the_old_file_and_its_own_words(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def copy():
        with writing(path) as file:
            file.write(b"half")
            (tmp_path / "elsewhere" / "source").read_bytes()

    with pytest.raises(FileNotFoundError, match="source"):
        copy()
    assert content(tmp_path) == {"file": b"old"}


def test_the_target_of_a_link_is_replaced(tmp_path):
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    write_atomically(target, b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert content(target.parent) == {"target": b"new"}
    folder, link = tmp_path / "folder", tmp_path / "folder_link"
    write_folder(folder, {"x": b"old"})
    link.symlink_to(folder)
    write_folder(link, {"x": b"new"})
    assert link.is_symlink()
    assert content(folder) == {"x": b"new"}


def test_a_dangling_link_gets_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"through")
    reader.join(10)
    assert received == [b"through"]
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_stream_of_the_process_is_written_to_as_it_is(tmp_path):
    code = (
        "from pathlib import Path; from ltood.runtime.files import write_atomically\n"
        "print('before', flush=True); write_atomically(Path('/dev/stdout'), b'content\\n')\n"
        "print('after', flush=True)"
    )
    with (tmp_path / "out").open("ab") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert content(tmp_path) == {"out": b"before\ncontent\nafter\n"}


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path):
    with pytest.raises(StoreError, match=f"{tmp_path}: it is a folder"):
        write_atomically(tmp_path, b"1")
    (tmp_path / "file").write_text("in the way")
    for write in (lambda path: write_atomically(path, b"1"), lambda path: write_folder(path, {})):
        with pytest.raises(
            StoreError, match=r"cannot write .*/file/b: (Not a directory|File exists)"
        ):
            write(tmp_path / "file" / "b")


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "a" / "b"
    write_folder(target, {"old.json": b"1", "both.bin": b"2"})
    write_folder(target, {"both.bin": b"3"})
    assert content(target) == {"both.bin": b"3"}
    assert [path.name for path in target.parent.iterdir()] == ["b"]


def test_a_folder_that_cannot_be_written_stays_old(tmp_path, monkeypatch):
    target = tmp_path / "b"
    write_folder(target, {"x": b"old"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"b: No space left"):
            write_folder(target, {"x": b"new"})
    assert content(target) == {"x": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


#: Ends the process right before the n-th call that changes a folder.
KILL = """
import os, signal, sys
from pathlib import Path
from ltood.runtime import files
left = int(sys.argv[1])
def counting(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
for name in ("rename", "replace", "unlink", "mkdir", "open"):
    setattr(Path, name, counting(getattr(Path, name)))
folder = Path(sys.argv[2])
"""


def killed_at(step, folder, code):
    """Whether the code was killed at that step."""
    done = subprocess.run([sys.executable, "-c", KILL + code, str(step), str(folder)])
    assert done.returncode in (0, -9)
    return done.returncode == -9


@pytest.mark.parametrize(
    ("code", "marker"),
    [
        ("files.replace_together({folder / n: b'new' for n in ('a', 'b', 'c')})", "c"),
        ("files.write_folder(folder, {n: b'new' for n in ('a', 'b', 'c')})", None),
    ],
)
def test_a_kill_never_leaves_old_and_new_together(tmp_path, code, marker):
    seen = set()
    for step in range(60):
        folder = tmp_path / f"{step}"
        write_folder(folder, dict.fromkeys("abc", b"old"))
        killed = killed_at(step, folder, code)
        found = content(folder) if folder.exists() else {}
        named = {name: value for name, value in found.items() if len(name) == 1}
        assert len(set(named.values())) <= 1
        # What vouches for the whole, or the folder itself, is there only with all the rest.
        assert set(named) == set("abc") or (marker not in named if marker else not named)
        seen |= set(named.values())
        # The next writer finishes and clears away what the killed one left.
        assert not killed_at(1000, folder, code)
        assert content(folder) == dict.fromkeys("abc", b"new")
        assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
        if not killed:
            break
    assert not killed
    assert seen == {b"old", b"new"}


def test_files_of_one_result_are_written_before_the_old_ones_go(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("table", "record")]
    replace_together(dict.fromkeys(paths, b"old"))
    (tmp_path / "of_somebody").write_bytes(b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="table: No space left"):
            replace_together(dict.fromkeys(paths, b"new"))
    assert content(tmp_path) == {"table": b"old", "record": b"old", "of_somebody": b"kept"}
    replace_together(dict.fromkeys(paths, b"new"))
    assert content(tmp_path) == {"table": b"new", "record": b"new", "of_somebody": b"kept"}


def test_only_what_ended_processes_left_is_removed(tmp_path, ended_process):
    kept = [
        temporary("running", os.getppid()),
        f".other_machine.00000000-{ended_process}-0.tmp",
        f"seen.{files.MACHINE}-{ended_process}-0.tmp",
        ".mine.tmp",
    ]
    for name in (*kept, temporary("ended", ended_process), temporary("an earlier me", os.getpid())):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / temporary("folder", ended_process) / "inner").mkdir(parents=True)
    with writing(tmp_path / "in_use") as file:
        sweep_temporaries(tmp_path)
        file.write(b"new")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "in_use"}


def test_a_folder_is_removed_whole(tmp_path):
    write_folder(tmp_path / "a", {"x": b"1"})
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b'{"a":' * 100_000),
        lambda path: path.write_bytes(b"\xff{}"),
        lambda path: path.write_bytes(b'"' + b"x" * 100 + b'"'),
        lambda path: path.mkdir(),
        os.mkfifo,
    ],
    ids=["lists", "objects", "bytes", "size", "folder", "pipe"],
)
def test_damaged_json_is_told_in_one_short_line(tmp_path, damage):
    path = tmp_path / "record.json"
    damage(path)
    with pytest.raises(CorruptStoreError, match=r"(?i)record\.json .* run it again") as caught:
        read_json(path, "run it again", limit=10**6 if path.stat().st_size != 102 else 101)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_missing_json_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json", "run it again")
