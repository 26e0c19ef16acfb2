"""Arrays whose rows are read on access."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.store.features import LOAD_LIMIT_GIB

#: Rows that a loop over a column reads at once.
_BLOCK = 1024


class Column(Sequence[Any]):
    """One array of a split; only the requested rows are read.

    It slices as a NumPy array does, and `numpy.asarray` reads it whole.

    Attributes:
        name: What it holds, for messages.
        shape: Its shape, rows first.
        dtype: Its number format.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any] | str,
        read: Callable[[int, int], NDArray[Any]],
    ) -> None:
        """Name the array; nothing is read.

        Args:
            name: What it holds, such as "features of test".
            shape: Its shape, rows first.
            dtype: Its number format.
            read: Gives rows [start, stop), at least one.
        """
        self.name, self.shape, self.dtype = name, shape, np.dtype(dtype)
        self._read = read

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> "Column":
        """An array that is there, such as a memory-mapped one."""
        return cls(name, array.shape, array.dtype, lambda start, stop: array[start:stop])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop); none where stop is not above start."""
        if start >= stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        return self._read(start, stop)

    def blocks(self, rows: int = _BLOCK) -> Iterator[NDArray[Any]]:
        """All rows in order, at most `rows` at a time."""
        for start in range(0, len(self), rows):
            yield self.read(start, min(start + rows, len(self)))

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - what NumPy takes and gives
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self.read(start, stop)[(slice(None), *rest)]
        elif isinstance(rows, int | np.integer):
            at = range(len(self))[int(rows)]
            return self.read(at, at + 1)[(0, *rest)]
        return np.asarray(self)[key]

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        size = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize / 2**30
        if size > LOAD_LIMIT_GIB:
            raise DataError(
                f"{self.name} take {size:.1f} GiB, more than the limit of {LOAD_LIMIT_GIB:g}; "
                "read slices of them."
            )
        whole = self.read(0, len(self))
        return np.array(whole, dtype=dtype) if copy else np.asarray(whole, dtype=dtype)

    def __repr__(self) -> str:
        return f"<{self.name}, {list(self.shape)} {self.dtype}>"


def linear(
    name: str, features: Column, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> Column:
    """Outputs of a linear layer, computed in float32 whenever they are read.

    Args:
        name: What they are.
        features: Features, [N, D].
        weight: Its weight, [C, D].
        bias: Its bias, [C].
    """

    def read(start: int, stop: int) -> NDArray[np.float32]:
        rows = features.read(start, stop).astype(np.float32)
        outputs: NDArray[np.float32] = rows @ weight.T + bias
        return outputs

    return Column(name, (len(features), len(bias)), "float32", read)


def picked(column: Column, rows: NDArray[np.int64]) -> Column:
    """Chosen rows of a column in a chosen order.

    Args:
        column: The column, [M, ...].
        rows: Row numbers, [N].
    """
    if np.array_equal(rows, np.arange(len(column))):
        return column

    def read(start: int, stop: int) -> NDArray[Any]:
        wanted = rows[start:stop]
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        return np.concatenate([column.read(int(run[0]), int(run[-1]) + 1) for run in runs])

    return Column(column.name, (len(rows), *column.shape[1:]), column.dtype, read)


def side_by_side(columns: Sequence[Column]) -> Column:
    """Columns [N, D1], [N, D2], ... as one, [N, D1 + D2 + ...]."""
    shape = (len(columns[0]), sum(column.shape[1] for column in columns))
    dtype = np.result_type(*(column.dtype for column in columns))

    def read(start: int, stop: int) -> NDArray[Any]:
        return np.concatenate([c.read(start, stop).astype(dtype) for c in columns], axis=1)

    return Column(columns[0].name, shape, dtype, read)
