"""Chunks on their way to disk, written by threads while the network computes the next ones."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from types import TracebackType
from typing import Self

#: Threads that write; most of their time goes into waiting for the disk.
WRITERS = 4
#: Bytes of chunks that are handed over and not written; one chunk may have more, alone.
WAITING_BYTES = 256 * 2**20


class Writing:
    """Writer threads with bounded memory.

    When the block ends, all that was handed over is written; so it is when the block fails, that
    no finished work is lost. Only where writing itself fails, what has not begun is dropped. The
    first failure, in order of handing over, is that of the block.
    """

    def __init__(self) -> None:
        """Start no thread before there is something to write."""
        self._pool = ThreadPoolExecutor(WRITERS, "write")
        self._tasks: deque[Future[None]] = deque()
        self._bytes, self._change = 0, Condition()

    def put(self, num_bytes: int, write: Callable[[], None]) -> None:
        """Hand over one chunk, as soon as there is room for it.

        Args:
            num_bytes: Memory that the chunk takes.
            write: Writes it.

        Raises:
            Exception: That of an earlier chunk, if one failed.
        """
        with self._change:
            self._change.wait_for(lambda: not self._bytes or self._fits(num_bytes))
            self._bytes += num_bytes
        while self._tasks and self._tasks[0].done():
            self._finish_first()
        self._tasks.append(self._pool.submit(self._write, num_bytes, write))

    def _fits(self, num_bytes: int) -> bool:
        return self._bytes + num_bytes <= WAITING_BYTES

    def _write(self, num_bytes: int, write: Callable[[], None]) -> None:
        try:
            write()
        finally:
            with self._change:
                self._bytes -= num_bytes
                self._change.notify_all()

    def _finish_first(self) -> None:
        """Wait for the chunk that was handed over first; drop the others if it failed."""
        try:
            self._tasks.popleft().result()
        except BaseException:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._tasks.clear()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        try:
            while self._tasks:
                self._finish_first()
        except Exception:
            if error is None:
                raise
        finally:
            self._pool.shutdown(cancel_futures=True)
