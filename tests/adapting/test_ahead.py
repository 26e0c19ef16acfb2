"""Rows that are read in advance are those that are read when they are needed."""

import numpy as np
import pytest

from ltood.adapting.ahead import RowsAhead


class Rows:
    def __init__(self):
        self.asked = []

    def read(self, array, chosen, views):
        self.asked.append((array, chosen.tolist()))
        if array == "broken":
            raise OSError(array)
        return np.stack([chosen, views], axis=1).astype(np.float32)


def batch(*rows):
    return np.array(rows), np.array(rows) % 2


def test_each_batch_is_read_once():
    rows = Rows()
    ahead = RowsAhead(rows, ("features", "local"))
    ahead.begin(*batch(3, 1))
    found = [ahead.read(name, *batch(3, 1)) for name in ("features", "local")]
    assert [part.tolist() for part in found] == [[[3, 1], [1, 1]]] * 2
    assert len(rows.asked) == 2
    ahead.close()


def test_what_was_not_begun_is_read_at_once():
    rows = Rows()
    ahead = RowsAhead(rows, ("features",))
    ahead.begin(*batch(3, 1))
    assert ahead.read("features", *batch(1, 3)).tolist() == [[1, 1], [3, 1]]
    ahead.begin(*batch(5))
    assert ahead.read("features", *batch(5)).tolist() == [[5, 1]]
    ahead.close()
    ahead.close()
    assert ahead.read("features", *batch(2)).tolist() == [[2, 0]]


def test_what_cannot_be_read_is_told_when_it_is_needed():
    ahead = RowsAhead(Rows(), ("broken",))
    ahead.begin(*batch(3))
    with pytest.raises(OSError, match="broken"):
        ahead.read("broken", *batch(3))
    ahead.close()
