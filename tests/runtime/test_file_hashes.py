import contextlib
import hashlib
import os
import sqlite3
import sys
import time

import pytest

from ltood.core.errors import DataError
from ltood.runtime import file_hashes
from ltood.runtime.file_hashes import FileHashes

NAMES = ("a/1.bin", "a/b/2.bin", "c.bin", "a/3.bin")


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(NAMES):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content %d" % number)
    return tmp_path / "files"


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read, at a time when all files have been still for long."""
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    found = []
    hashed = file_hashes._hashed
    monkeypatch.setattr(
        file_hashes, "_hashed", lambda task: (found.append(task[2]), hashed(task))[1]
    )
    return found


def wanted(root, names=NAMES):
    return [hashlib.sha256((root / name).read_bytes()).digest() for name in names]


def test_digests_come_in_the_order_of_the_paths(root, tmp_path):
    assert FileHashes(tmp_path / "known.sqlite").digests(root, NAMES) == wanted(root)


def test_what_has_not_changed_is_not_read_again(root, tmp_path, reads):
    known = tmp_path / "deep" / "known.sqlite"
    FileHashes(known).digests(root, NAMES)
    assert len(reads) == 4
    assert FileHashes(known).digests(root, NAMES[::-1]) == wanted(root, NAMES[::-1])
    assert len(reads) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are always text")
def test_names_that_are_not_utf8_are_remembered_as_well(tmp_path, reads):
    root, name = tmp_path / os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff/\xfe.bin")
    (root / name).parent.mkdir(parents=True)
    (root / name).write_bytes(b"content")
    for _ in range(2):
        assert FileHashes(tmp_path / "known.sqlite").digests(root, [name]) == wanted(root, [name])
    assert len(reads) == 1


def test_each_folder_is_looked_up_once_in_whatever_order_paths_come(root, tmp_path, monkeypatch):
    asked = []

    def traced(database):
        connection = sqlite3.connect(database)
        connection.set_trace_callback(
            lambda query: asked.append(query) if query.startswith("select name") else None
        )
        return connection

    known = FileHashes(tmp_path / "known.sqlite")
    known.digests(root, NAMES)
    monkeypatch.setattr(FileHashes, "_connect", lambda self: traced(self._database))
    names = [*NAMES, *NAMES[::-1], *NAMES]
    assert known.digests(root, names) == wanted(root, names)
    assert len(asked) == 3


def replaced(path):
    other = path.with_suffix(".new")
    other.write_bytes(b"CONTENT 0")
    stamps = path.stat()
    os.utime(other, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    other.replace(path)


def rewritten(path):
    stamps = path.stat()
    path.write_bytes(b"CONTENT 0")
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(b"longer than before"), replaced, rewritten]
)
def test_a_changed_file_is_read_again_and_no_other(root, tmp_path, reads, change):
    known = FileHashes(tmp_path / "known.sqlite")
    before = known.digests(root, NAMES)
    change(root / "a/1.bin")
    after = known.digests(root, NAMES)
    assert after == wanted(root)
    assert after[0] != before[0]
    assert reads[4:] == ["1.bin"]


def test_a_file_that_changed_just_now_is_not_remembered(root, tmp_path, monkeypatch):
    known = FileHashes(tmp_path / "known.sqlite")
    known.digests(root, NAMES)
    # Another write in the same tick of the clock leaves no trace in the times.
    state = file_hashes._state(str(root / "c.bin"))
    (root / "c.bin").write_bytes(b"CONTENT 2")
    monkeypatch.setattr(file_hashes, "_state", lambda _: state)
    assert known.digests(root, ["c.bin"]) == wanted(root, ["c.bin"])


def test_a_file_that_changes_while_it_is_read_is_refused(root, tmp_path, monkeypatch):
    read = hashlib.file_digest

    def changing(file, algorithm):
        found = read(file, algorithm)
        (root / "c.bin").write_bytes(b"another content")
        return found

    monkeypatch.setattr(hashlib, "file_digest", changing)
    with pytest.raises(DataError, match=r"c\.bin changed while it was read"):
        FileHashes(tmp_path / "known.sqlite").digests(root, ["c.bin"])


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one" * 9])
def test_a_damaged_database_is_replaced(root, tmp_path, content):
    known = tmp_path / "known.sqlite"
    known.write_bytes(content)
    assert FileHashes(known).digests(root, NAMES) == wanted(root)
    assert FileHashes(known).digests(root, NAMES) == wanted(root)
    with sqlite3.connect(known) as database:
        assert database.execute("select count(*) from files").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["pages", "text", "digests"])
def test_damage_inside_of_a_database_costs_only_the_reading(root, tmp_path, reads, damage):
    known = tmp_path / "known.sqlite"
    FileHashes(known).digests(root, NAMES)
    FileHashes(known).remember("size", {b"x" * 32: 7})
    if damage == "pages":
        raw = known.read_bytes()
        known.write_bytes(raw[:4096] + bytes(byte ^ 0x5A for byte in raw[4096:]))
    else:
        with contextlib.closing(sqlite3.connect(known)) as database, database:
            what = "name = cast(x'ff' as text)" if damage == "text" else "sha256 = 'short'"
            database.execute(f"update files set {what} where name = 'c.bin'")
    for _ in range(2):
        assert FileHashes(known).digests(root, NAMES) == wanted(root)
    assert FileHashes(known).notes("size", [b"x" * 32]) in ({}, {b"x" * 32: 7})
    assert len(reads) < 4 * 3


def test_a_place_that_cannot_be_written_costs_only_the_memory(root, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "known.sqlite", root):
        assert FileHashes(place).digests(root, NAMES) == wanted(root)


def test_what_cannot_be_read_is_named(root, tmp_path):
    known = FileHashes(tmp_path / "known.sqlite")
    with pytest.raises(DataError, match=r"none\.bin cannot be read"):
        known.digests(root, ["none.bin"])
    with pytest.raises(DataError, match=r"a is not a regular file"):
        known.digests(root, ["a"])
    os.mkfifo(root / "pipe")
    with pytest.raises(DataError, match="pipe is not a regular file"):
        known.digests(root, ["pipe"])


def test_one_file_has_one_digest(root, tmp_path):
    found = FileHashes(tmp_path / "known.sqlite").digest(root / "a/b/2.bin")
    assert found == hashlib.sha256(b"content 1").hexdigest()
