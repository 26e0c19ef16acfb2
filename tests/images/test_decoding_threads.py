import os

import pytest

from ltood.images.decoding import decoding_threads


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot tell")
@pytest.mark.parametrize(
    ("processors", "ranks", "expected"),
    [(4, None, 4), (64, None, 16), (8, "4", 2), (2, "8", 1), (4, "many", 4), (4, "0", 4)],
)
def test_threads_are_those_that_this_process_may_use(monkeypatch, processors, ranks, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(processors)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if ranks is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert decoding_threads() == expected
