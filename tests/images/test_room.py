"""Huge images are decoded a few at a time, and damaged ones are named whatever Pillow raises."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ltood.core.errors import DataError
from ltood.images.checking import load
from ltood.images.decoding import Geometry, decode, decode_image, decoded_image, open_image
from ltood.images.files import ImageFiles
from ltood.images.room import Room
from ltood.runtime.distributed import Ranks
from ltood.training.pixels import BatchRequest, PrefetchedImages


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
    whole, torn = file.getvalue(), file.getvalue()[:-20]
    for taking in (decoded_image, open_image):
        with suppress(ZeroDivisionError, DataError), taking(whole, "a.png"):
            assert room._left == 0
            raise ZeroDivisionError
        assert room._left == 10
        for content in (torn, b"", b"no image"):
            with pytest.raises(DataError, match=r"a\.png"), taking(content, "a.png"):
                pass
            assert room._left == 10
    decode_image(whole, "a.png")
    assert room._left == 10


def test_every_reader_of_many_files_holds_few_pixels(tmp_path, monkeypatch):
    """Checking, decoding and training: threads that each hold an image, of which two fit."""
    room, lock, held, most = Room(20), threading.Lock(), [0], []
    monkeypatch.setattr("ltood.images.decoding._ROOM", room)
    for row in range(8):
        Image.new("RGB", (5, 2)).save(tmp_path / f"{row}.png")
    names, rows = tuple(f"{row}.png" for row in range(8)), np.arange(8)
    files = ImageFiles(tmp_path, names, np.zeros(8, np.int64), rows)

    class Slow(Geometry):
        def __call__(self, image, row):
            with lock:
                held[0] += 1
                most.append(held[0])
            assert room._left <= 10
            threading.Event().wait(0.002)
            with lock:
                held[0] -= 1
            return super().__call__(image, row)

    geometry = Slow((2, 2))
    seen = [load(files, geometry, "x").images, decode(files, rows, geometry, workers=8)]
    provider = PrefetchedImages(files, geometry, torch.device("cpu"), Ranks(), workers=8)
    (view,) = provider.views(BatchRequest(tuple(range(8)), (False,), 0, ()))
    provider.close()
    assert view.shape == (8, 3, 2, 2)
    assert all(found.shape == (8, 2, 2, 3) for found in seen)
    assert len(most) == 24
    assert max(most) <= 2


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
