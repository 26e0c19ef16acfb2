"""Huge images are decoded a few at a time, and damaged ones are named whatever Pillow raises."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ltood.core.errors import DataError
from ltood.images.decoding import decode_image, room_for
from ltood.images.room import Room


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 20))
def test_threads_hold_no_more_than_there_is(amounts, total):
    room, lock, held, most = Room(total), threading.Lock(), [], []

    def hold(amount):
        with room.holding(amount):
            with lock:
                held.append(min(amount, total))
                most.append(sum(held))
            with lock:
                held.remove(min(amount, total))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, amounts))
    assert max(most, default=0) <= total
    with room.holding(total):  # All of it came back.
        pass


def test_room_comes_back_after_an_error(monkeypatch):
    room = Room(10)
    monkeypatch.setattr("ltood.images.decoding._ROOM", room)
    file = io.BytesIO()
    Image.new("RGB", (5, 2)).save(file, "PNG")
    for content, left in ((file.getvalue(), 0), (b"", 10), (b"no image", 10)):
        with suppress(ZeroDivisionError), room_for(content):
            assert room._left == left
            raise ZeroDivisionError
        assert room._left == 10


@pytest.mark.parametrize("error", [RuntimeError("no item"), KeyError(3), IndexError(), OSError()])
def test_whatever_pillow_raises_names_the_file(error, monkeypatch):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"a\.avif cannot be decoded"):
        decode_image(b"damaged", "a.avif")


def test_no_memory_is_no_damaged_file(monkeypatch):
    def fail(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decode_image(b"large", "a.png")
