"""Queues of extraction: right order, bounded memory, and errors of their own."""

import threading
from contextlib import closing
from functools import partial

import numpy as np
import pytest
import torch

from ltood.core.errors import DataError
from ltood.extraction import writing as module
from ltood.extraction.gathering import Gathering
from ltood.extraction.loading import AHEAD, load_ahead, on_device
from ltood.extraction.writing import WAITING_BYTES, Writing

CPU = torch.device("cpu")


class Rows:
    """Rows of a part whose pixels are their own numbers, some of which cannot be read."""

    image_shape = (1, 1, 1)
    transform = "any"

    def __init__(self, start, stop, step, bad=()):
        self.bounds, self.bad, self.begun = (start, stop, step), bad, set()

    def batches(self):
        start, stop, step = self.bounds
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def fill(self, pixels, first):
        for place in range(len(pixels)):
            self.begun.add(first + place)
            if first + place in self.bad:
                raise DataError(f"row {first + place}")
            pixels[place] = first + place


def test_blocks_come_in_order_and_not_too_early():
    parts = [Rows(0, 20, 6), Rows(20, 29, 4)]
    batches = [batch for part in parts for batch in part.batches()]
    with closing(on_device(load_ahead(parts, CPU), CPU)) as blocks:
        for place, (batch, block) in enumerate(zip(batches, blocks, strict=True)):
            np.testing.assert_array_equal(block.flatten(), range(*batch))
            last = batches[min(place + AHEAD, len(batches) - 1)]
            assert max(set.union(*(part.begun for part in parts))) < last[1]


def test_the_first_error_in_order_is_that_of_the_run():
    with pytest.raises(DataError, match="row 7"):
        list(load_ahead([Rows(0, 40, 10, bad={7, 9, 23})], CPU))


def test_no_thread_outlives_the_iterator():
    blocks = load_ahead([Rows(0, 400, 4)], CPU)
    next(blocks)
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_chunks_are_cut_from_batches_of_any_size(rng):
    rows = torch.from_numpy(rng.normal(size=(23, 2)))
    for size, chunk in ((1, 5), (4, 5), (5, 5), (7, 2), (23, 4)):
        ranges = [(start, min(start + chunk, 23)) for start in range(0, 23, chunk)][1:]
        gathered = Gathering(ranges, CPU)
        found = [
            chunk
            for first in range(0, 23, size)
            for chunk in gathered.add(first, {"x": rows[first : first + size]})
        ]
        assert [(chunk.start, chunk.stop) for chunk in found] == ranges
        for chunk in found:
            np.testing.assert_array_equal(chunk.arrays()["x"], rows[chunk.start : chunk.stop])


def test_what_waits_to_be_written_is_bounded():
    free, handed = threading.Event(), []

    def hand_over(writing):
        for place in range(3):
            writing.put(WAITING_BYTES // 2, free.wait)
            handed.append(place)

    with Writing() as writing:
        thread = threading.Thread(target=hand_over, args=(writing,))
        thread.start()
        thread.join(0.2)
        assert handed == [0, 1]
        free.set()
        thread.join()
        writing.put(3 * WAITING_BYTES, free.wait)  # Too large, so alone.
    assert handed == [0, 1, 2]


def write_all(tasks, error=None):
    """Hand over some tasks, and fail afterwards."""
    with Writing() as writing:
        for task in tasks:
            writing.put(1, task)
        if error is not None:
            raise error


def test_a_failing_writer_ends_the_run_with_its_own_error(monkeypatch):
    monkeypatch.setattr(module, "WRITERS", 1)
    written = []

    def fail(text):
        raise OSError(28, text)

    tasks = [partial(written.append, 0), partial(fail, "first"), partial(fail, "second")]
    with pytest.raises(OSError, match="first"):
        write_all(tasks)
    with pytest.raises(DataError):
        write_all(tasks[:1], DataError("a picture is damaged"))
    assert written == [0, 0]


def test_finished_work_is_written_when_the_run_fails():
    written = []
    with pytest.raises(DataError):
        write_all(
            [partial(written.append, place) for place in range(9)], DataError("a damaged picture")
        )
    assert sorted(written) == list(range(9))
