"""Ending long work after what is in hand, when it is interrupted or told to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Turn the first Ctrl-C or SIGTERM of the block into an event; a second one acts as ever.

    Yields:
        What is set by the signal. Outside of the main thread nothing sets it.
    """
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
