"""Stored rows of the next step, read while the present one computes."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Readable(Protocol):
    """Rows that can be read in part; `TrainingRows` are some."""

    def read(self, array: str, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> Rows:
        """One view each of some rows."""


class RowsAhead:
    """Reads what is asked for, and keeps what was asked for in advance."""

    def __init__(self, rows: Readable, arrays: Sequence[str]) -> None:
        """Take the rows and the names of the arrays that every step reads."""
        self._rows, self._arrays = rows, arrays
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: dict[tuple[str, bytes, bytes], Future[Rows]] = {}

    def begin(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> None:
        """Start to read a batch that `read` will be asked for; what waits else is dropped."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._waiting = {
            _key(array, chosen, views): self._pool.submit(self._rows.read, array, chosen, views)
            for array in self._arrays
        }

    def read(self, array: str, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> Rows:
        """One view each of some rows, as the rows themselves give them.

        Raises:
            CorruptStoreError: As reading does.
        """
        waiting = self._waiting.pop(_key(array, chosen, views), None)
        return self._rows.read(array, chosen, views) if waiting is None else waiting.result()

    def close(self) -> None:
        """Stop the thread."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _key(
    array: str, chosen: NDArray[np.int64], views: NDArray[np.int64]
) -> tuple[str, bytes, bytes]:
    return array, chosen.tobytes(), views.tobytes()
