"""Arrays by name whose rows are read on demand, from files of any format."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError


@dataclass(frozen=True)
class Lazy:
    """An array whose rows are read on demand.

    Attributes:
        shape: Its shape.
        dtype: Its type.
        read: Gives rows [start, stop).
        stream: Gives consecutive row blocks of given sizes, where that is cheaper.
        fault: Why it cannot be read; raised for whoever asks for it, so that a column that nobody
            needs stands in nobody's way.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], NDArray[Any]]
    stream: Callable[[Sequence[int]], Iterator[NDArray[Any]]] | None = None
    fault: DataError | None = None

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """An array that is there, such as a memory-mapped one."""
        whole = array.ndim == 0
        return cls(array.shape, array.dtype, lambda a, b: array if whole else array[a:b])

    @classmethod
    def unreadable(cls, fault: DataError) -> Self:
        """An array that has a name and nothing else."""
        none = np.empty(0)
        return cls(none.shape, none.dtype, lambda *_: none, fault=fault)


class Table:
    """Arrays by name that are read on demand; used in a `with` block where files stay open."""

    def __init__(self, path: Path, arrays: Mapping[str, Lazy]) -> None:
        """Take the arrays that were found in a file.

        Args:
            path: The file, for messages.
            arrays: Arrays by name.
        """
        self.path, self._arrays = path, dict(arrays)

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return sorted(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, without reading it."""
        return self.array(name).shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of an array, without reading it."""
        return self.array(name).dtype

    def load(self, name: str) -> NDArray[Any]:
        """Read a whole array."""
        array = self.array(name)
        return array.read(0, array.shape[0] if array.shape else 1)

    def blocks(self, name: str, sizes: list[int]) -> Iterator[NDArray[Any]]:
        """Yield consecutive row blocks of an array, of given sizes."""
        array, start = self.array(name), 0
        if array.stream is not None:
            yield from array.stream(sizes)
            return
        for size in sizes:
            yield array.read(start, start + size)
            start += size

    def array(self, name: str) -> Lazy:
        """One array.

        Raises:
            DataError: If there is no such array, or it cannot be read.
        """
        if name not in self._arrays:
            raise DataError(
                f"{self.path} has no array {name!r}; it has {', '.join(self.names) or 'none'}."
            )
        array = self._arrays[name]
        if array.fault is not None:
            raise array.fault
        return array

    def columns(self) -> dict[str, Lazy]:
        """All arrays by name, those that cannot be read among them."""
        return dict(self._arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close what is open; nothing where the arrays hold their files themselves."""


def joined(tables: Sequence[Table]) -> Table:
    """Several files that hold arrays of the same rows as one table.

    Raises:
        DataError: If two of them hold the same array.
    """
    if len(tables) == 1:
        return tables[0]
    arrays: dict[str, Lazy] = {}
    for table in tables:
        for name, array in table.columns().items():
            if name in arrays:
                raise DataError(f"{table.path}: {name} is in another file, too; remove one.")
            arrays[name] = array
    return Table(tables[0].path, arrays)


def damaged(path: Path, what: str, error: Exception) -> DataError:
    """Error for a file that cannot be read."""
    return DataError(f"{path} is damaged or not a {what} ({error}); write it again.")
