"""Large arrays lie in files without a name, and hold the same numbers."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import ConfigError, StoreError
from ltood.runtime import large
from ltood.runtime.large import room_for

CPU = torch.device("cpu")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Every array is large."""
    folder = tmp_path / "größe and more"
    folder.mkdir()
    monkeypatch.setenv(large.LIMIT, "0")
    monkeypatch.setenv(large.FOLDER, str(folder))
    return folder


def anonymous():
    """Bytes of this process that the system cannot take back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def is_mapped(folder):
    """Whether a file of a folder that has lost its name is still in use."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return any(str(folder) in line and "(deleted)" in line for line in maps.splitlines())


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.int64, torch.float16, torch.bool]),
)
def test_shape_and_format_are_those_asked_for(shape, dtype):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(large.LIMIT, "0")
        room = room_for(shape, dtype, CPU, "the rows")
    assert (list(room.shape), room.dtype, room.is_contiguous()) == (shape, dtype, True)
    room.fill_(1)
    assert torch.equal(room, torch.ones(shape, dtype=dtype))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_large_array_takes_no_memory_and_leaves_no_file(scratch):
    before = anonymous()
    room = room_for((64, 2**20), torch.uint8, CPU, "the rows")
    room.fill_(7)
    assert anonymous() - before < 2**24
    assert list(scratch.iterdir()) == []
    assert int(room[63, -1]) == 7
    assert is_mapped(scratch)
    del room
    assert not is_mapped(scratch)  # The disk has it back.


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_limit_that_is_no_size(monkeypatch, text):
    monkeypatch.setenv(large.LIMIT, text)
    with pytest.raises(ConfigError, match=large.LIMIT):
        room_for((1,), torch.uint8, CPU, "the rows")


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be taken at once")
def test_a_full_disk_is_told_before_anything_is_written(scratch, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match=rf"(?s){scratch.name}.*{large.FOLDER}.*{large.LIMIT}"):
        room_for((8,), torch.uint8, CPU, "the rows")


def test_a_folder_that_is_not_there(scratch, monkeypatch):
    monkeypatch.setenv(large.FOLDER, str(scratch / "nowhere"))
    with pytest.raises(StoreError, match="nowhere"):
        room_for((8,), torch.uint8, CPU, "the rows")


def test_space_is_taken_by_writing_where_the_system_cannot(scratch, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    monkeypatch.setattr(large, "_BLOCK", bytes(3))
    assert room_for((8,), torch.uint8, CPU, "the rows").tolist() == [0] * 8


def test_the_next_folder_is_tried(tmp_path, monkeypatch):
    monkeypatch.setenv(large.LIMIT, "0")
    monkeypatch.delenv(large.FOLDER, raising=False)
    monkeypatch.setattr(large, "_folders", lambda: iter([tmp_path / "no", tmp_path]))
    assert len(room_for((8,), torch.uint8, CPU, "the rows")) == 8


def test_a_folder_in_memory_is_left_out(tmp_path, monkeypatch):
    monkeypatch.delenv(large.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert next(large._folders()) == tmp_path or large._is_memory(tmp_path)
    monkeypatch.setattr(large, "_is_memory", lambda folder: True)
    assert list(large._folders()) == []
    monkeypatch.setenv(large.LIMIT, "0")
    with pytest.raises(StoreError, match=large.FOLDER):
        room_for((8,), torch.uint8, CPU, "the rows")
    # What a user names is taken as it is.
    monkeypatch.setenv(large.FOLDER, str(tmp_path))
    assert list(large._folders()) == [tmp_path]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no folder in memory")
def test_the_system_says_which_folder_is_memory():
    assert large._is_memory(Path("/dev/shm"))
    assert not large._is_memory(Path("/proc"))


def test_what_a_gpu_has_no_room_for_is_refused(monkeypatch):
    monkeypatch.setenv(large.LIMIT, "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**20)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    with pytest.raises(ConfigError, match=r"the factors take .* cuda:0"):
        room_for((2**21 + 1,), torch.uint8, torch.device("cuda:0"), "the factors")


def test_people_are_told_where_arrays_lie(scratch, monkeypatch):
    assert f"above 0 GiB ({large.LIMIT}) lie in files in {scratch}" in large.places()
    monkeypatch.setenv(large.FOLDER, str(scratch / "absent"))
    assert large.FOLDER in large.places()
    monkeypatch.setenv(large.LIMIT, "few")
    assert "'few'" in large.places()
