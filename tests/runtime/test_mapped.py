"""New files that are mapped: zeros, written through, and refused where there is no room."""

import errno
import os

import numpy as np
import pytest

from ltood.core.errors import StoreError
from ltood.runtime import large
from ltood.runtime.mapped import map_new


@pytest.mark.parametrize("shape", [(0, 3), (5,), (3, 2, 2)])
def test_zeros_that_go_to_the_file(tmp_path, shape):
    found = map_new(tmp_path / "a", "float32", shape)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert not found.any()
    found[:] = 1.5
    found = None
    assert (tmp_path / "a").read_bytes() == np.full(shape, 1.5, np.float32).tobytes()


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def full(handle, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StoreError, match="TMPDIR"):
        map_new(tmp_path / "a", "float32", (4,))


def test_where_the_system_takes_no_room_zeros_are_written(tmp_path, monkeypatch):
    def refuse(handle, start, size):
        raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    monkeypatch.setattr(large, "_BLOCK", bytes(10))
    found = map_new(tmp_path / "a", "uint8", (25,))
    assert not found.any()
    assert (tmp_path / "a").stat().st_blocks > 0


def test_a_name_that_is_taken_is_left_alone(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(StoreError):
        map_new(tmp_path / "a", "float32", (4,))
    assert (tmp_path / "a").read_text() == "mine"
