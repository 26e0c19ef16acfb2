"""Damaged files of NumPy end in an error that readers turn into a sentence."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.errors import DataError
from ltood.images.archives import read_archive
from ltood.runtime.numpy_files import UNREADABLE

flips = st.lists(st.tuples(st.integers(0, 127), st.integers(0, 7)), min_size=1, max_size=3)


def flipped(raw, places):
    damaged = bytearray(raw)
    for place, bit in places:
        damaged[place % len(raw)] ^= 1 << bit
    return bytes(damaged)


@settings(deadline=None, max_examples=60)
@given(places=flips)
def test_no_other_error_leaves_a_damaged_header(places):
    written = io.BytesIO()
    np.save(written, np.zeros((4, 6), np.float32))
    with suppress(UNREADABLE):
        np.load(io.BytesIO(flipped(written.getvalue(), places)), allow_pickle=False)


def test_a_header_without_its_end_is_unreadable():
    written = io.BytesIO()
    np.save(written, np.zeros((4, 6), np.float32))
    with pytest.raises(UNREADABLE):
        np.load(io.BytesIO(written.getvalue().replace(b"), }", b"(, }")), allow_pickle=False)


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("place", range(0, 30, 3))
def test_an_archive_is_read_or_refused(tmp_path, place, bit):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.zeros(2, int))
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(flipped(raw, [(place, bit)]))
    with suppress(DataError):
        found = read_archive(tmp_path / "b.npz", outliers=False)
        assert found.images.shape[:3] == (2, 4, 4)
