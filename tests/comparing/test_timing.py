"""Own and shared seconds."""

import pytest
import torch

from ltood.comparing.timing import TimedBatch, TimedInputs, Timer, Timing


def test_shared_seconds_are_kept_apart_from_own():
    now = [0.0]
    timer, spent = Timer(clock=lambda: now[0]), Timing()
    inputs = TimedInputs(timer=timer)
    batch = TimedBatch({"features": torch.zeros(1, 1)}, timer=timer)

    def work(seconds):
        now[0] += seconds

    def outer():
        inputs.cached("inner", lambda: work(2))
        work(4)

    with timer.add_to(spent):
        inputs.cached("outer", outer)
        batch.cached("inner", lambda: work(8))
        work(1)
    # Shared work within shared work counts once.
    assert spent == Timing(own=1, shared=14)
    again = Timing()
    with timer.add_to(again):
        inputs.cached("outer", outer)
    assert again == Timing()

    def fail():
        work(16)
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"), timer.add_to(again):
        fail()
    assert again == Timing(own=16)
