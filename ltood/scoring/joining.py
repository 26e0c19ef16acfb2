"""Rows of other feature stores beside those of the present one, joined by ids.

Where both stores have the same rows in the same order, both are read straight through. Else a
row is looked up in blocks of its store, and the ids of a split are held in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource, WrappedSource
from ltood.core.beside import beside, parted
from ltood.core.crew import Part, cut_batches, numbered_batches
from ltood.core.errors import StoreError
from ltood.store.features import FeatureSplit
from ltood.store.layout import SplitSpec
from ltood.store.reading import SplitReader

#: Gives the rows of a split as another store, named by its path, has them.
OpenSource = Callable[[str, SplitReader], FeatureSource]

#: Rows of another store that are read at once to look some up.
_BLOCK_ROWS = 4096


class ReorderedSplit:
    """Rows of a split in another order."""

    def __init__(self, split: FeatureSplit, positions: NDArray[np.int64]) -> None:
        """Take rows of `split` at `positions`, [N]."""
        self._split, self._positions = split, positions
        self.name, self.spec = split.name, SplitSpec(len(positions), split.spec.arrays)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._positions)

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self._split.dim

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays that can be read."""
        return self._split.arrays

    def batches(
        self,
        rows: int,
        arrays: Sequence[str] = ("features", "logits", "labels"),
        first: int = 0,
        end: int | None = None,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield rows from `first` to `end` in order, at most `rows` at once, only `arrays`."""
        last = len(self) if end is None else end
        for start in range(first, last, rows):
            chosen = self._positions[start : min(start + rows, last)]
            yield {name: self._taken(name, chosen) for name in arrays}

    def _taken(self, array: str, chosen: NDArray[np.int64]) -> NDArray[Any]:
        first, last = int(chosen.min()), int(chosen.max()) + 1
        if np.array_equal(chosen, np.arange(first, last)):
            return self._split.read(array, first, last)
        found: NDArray[Any] | None = None
        for block in np.unique(chosen // _BLOCK_ROWS):
            start = int(block) * _BLOCK_ROWS
            stop = min(start + _BLOCK_ROWS, len(self._split))
            rows = self._split.read(array, start, stop)
            if found is None:
                found = np.empty((len(chosen), *rows.shape[1:]), rows.dtype)
            inside = (chosen >= start) & (chosen < stop)
            found[inside] = rows[chosen[inside] - start]
        assert found is not None
        return found


def joined(own: SplitReader, other: FeatureSplit, path: str) -> SplitReader:
    """Rows of another store's split in the order of the own one.

    Args:
        own: Split of the present store.
        other: Split of the same name of the other store.
        path: The other store, for messages.

    Raises:
        StoreError: If an id is missing; none stands in a store twice.
    """
    ids, known = _ids(own), _ids(other)
    if np.array_equal(ids, known):
        return other
    order = np.argsort(known, kind="stable")
    ranked = known[order]
    places = np.minimum(np.searchsorted(ranked, ids), max(len(ranked) - 1, 0))
    missing = np.flatnonzero(ranked[places] != ids) if len(ranked) else np.arange(len(ids))
    if len(missing):
        raise StoreError(
            f"split {other.name} of {path} lacks {len(missing)} of {len(ids)} ids, such as "
            f"{ids[missing[0]]}; extract both stores from the same data set."
        )
    return ReorderedSplit(other, order[places])


def _ids(split: SplitReader) -> NDArray[np.int64]:
    parts = [block["ids"] for block in split.batches(2**16, ("ids",))]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


class JoinedSource(WrappedSource):
    """Rows of a source, with arrays of other stores beside them where these are asked for."""

    def __init__(self, source: FeatureSource, others: "Others") -> None:
        """Wrap a source.

        Args:
            source: Own rows.
            others: The same rows by path of another store.
        """
        super().__init__(source)
        self._others = others

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""
        own: list[str] = []
        wanted: dict[str, list[str]] = {}
        for name in arrays:
            array, store = parted(name)
            if store is None:
                own.append(array)
            else:
                wanted.setdefault(store, []).append(array)
        if not wanted:
            yield from self._source.batches(rows, own)
            return
        if not {"ids", "labels"} & set(own):
            own.append("ids")  # Some array must say how many rows there are.
        readers = {
            store: _Reader(self._others(store).batches(rows, names))
            for store, names in wanted.items()
        }
        for batch in self._source.batches(rows, own):
            found = dict(batch.arrays)
            for store, reader in readers.items():
                others = reader.next(len(batch)).arrays
                found |= {beside(name, store): tensor for name, tensor in others.items()}
            yield FeatureBatch(found)

    def numbered(
        self, part: Part, rows: int, arrays: Sequence[str]
    ) -> Iterator[tuple[int, FeatureBatch]]:
        """Yield the batches of a part, each with its first row; see `PartedSource`.

        Arrays of other stores are read row by row, so all are read where some are wanted.
        """
        if any(parted(name)[1] for name in arrays):
            yield from cut_batches(self.batches(rows, arrays), part, len(self))
        else:
            yield from numbered_batches(self._source, part, arrays, rows)


class Others:
    """Sources of the rows of one split by path of another store."""

    def __init__(self, split: SplitReader, open_source: OpenSource) -> None:
        """Take a split of the present store, and what opens the same rows of another."""
        self._split, self._open = split, open_source
        self._found: dict[str, FeatureSource] = {}

    def __call__(self, path: str) -> FeatureSource:
        """The rows as the store at `path` has them.

        Raises:
            StoreError: If it lacks the split, or an id.
        """
        if path not in self._found:
            self._found[path] = self._open(path, self._split)
        return self._found[path]


class _Reader:
    """Batches of a source, cut anew."""

    def __init__(self, batches: Iterator[FeatureBatch]) -> None:
        self._batches = batches
        self._rest: FeatureBatch | None = None

    def next(self, rows: int) -> FeatureBatch:
        """The next rows, as many as that."""
        parts, wanted = [], rows
        while wanted:
            batch = self._rest or next(self._batches)
            parts.append(batch.slice(0, wanted))
            self._rest = batch.slice(wanted, len(batch)) if len(batch) > wanted else None
            wanted -= len(parts[-1])
        if len(parts) == 1:
            return parts[0]
        names = parts[0].arrays
        return FeatureBatch({name: torch.cat([p._present(name) for p in parts]) for name in names})
