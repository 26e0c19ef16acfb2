"""How many pixels threads may hold decoded at a time, so that a few huge images fit in memory.

A thread that holds an amount must not ask for another one: two such threads would wait for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

#: Pixels that are decoded at a time, as many as one image may have; about 1.5 GB.
_PIXELS = 178_956_970


class Room:
    """An amount that threads share; who wants more than there is gets all of it, alone."""

    def __init__(self, total: int = _PIXELS) -> None:
        """Begin with the whole amount."""
        self._total = self._left = total
        self._change = Condition()

    @contextmanager
    def holding(self, amount: int) -> Iterator[None]:
        """Hold an amount for the block, as soon as it is there."""
        amount = min(amount, self._total)
        with self._change:
            self._change.wait_for(lambda: amount <= self._left)
            self._left -= amount
        try:
            yield
        finally:
            with self._change:
                self._left += amount
                self._change.notify_all()
