"""A fixed amount that many requests share: bytes, pixels, places in a queue."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """An amount that is taken and given back; for one event loop, not for threads.

    Who waits is served in turn, so that small requests do not overtake a large one for ever.
    """

    def __init__(self, total: int) -> None:
        """Begin with the whole amount.

        Args:
            total: The amount; nobody may take more at once.
        """
        self.total = total
        self.left = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def try_take(self, amount: int) -> bool:
        """Take an amount if it is there and nobody waits; says whether it was taken."""
        if self._waiting or amount > self.left:
            return False
        self.left -= amount
        return True

    async def take(self, amount: int) -> None:
        """Take an amount as soon as it is there.

        Raises:
            ValueError: If it is more than there ever is.
        """
        if amount > self.total:
            raise ValueError(f"{amount} is more than the {self.total} there are.")
        if self.try_take(amount):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)  # It was handed over just before.
            else:
                if (amount, turn) in self._waiting:
                    self._waiting.remove((amount, turn))
                self._serve()
            raise

    def give(self, amount: int) -> None:
        """Give an amount back, to those who wait first."""
        self.left += amount
        self._serve()

    @contextmanager
    def holding(self, amount: int) -> Iterator[bool]:
        """Hold an amount for the block, if it is there at once; says whether it is."""
        taken = self.try_take(amount)
        try:
            yield taken
        finally:
            if taken:
                self.give(amount)

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.left:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self.left -= amount
                turn.set_result(None)
