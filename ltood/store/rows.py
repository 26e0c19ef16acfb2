"""Rows of one complete split, read in batches as read-only arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import IncompleteStoreError, StoreError
from ltood.store.chunks import SplitFiles
from ltood.store.layout import ArraySpec

#: Chunks of one split kept mapped; older maps are dropped so that memory stays bounded.
MAPPED_CHUNKS = 8
#: Chunks that a disk far away may bring while one is read, where rows are read in order.
AHEAD = 4


class StoredRows:
    """Rows of one complete split on disk."""

    def __init__(self, files: SplitFiles) -> None:
        """Read all markers; refuses a split that has unwritten chunks.

        Raises:
            IncompleteStoreError: With the rows written so far.
            CorruptStoreError: If a marker is unreadable or belongs to another store.
        """
        self.name, self.spec = files.name, files.spec
        self._files = files
        self._mapped: dict[tuple[str, int], NDArray[Any]] = {}
        self._sums = [sums or {} for sums in files.read_markers()]
        pairs = zip(files.ranges, self._sums, strict=True)
        lost = sum(stop - start for (start, stop), sums in pairs if not sums)
        if lost:
            raise IncompleteStoreError(
                f"split {self.name} of {files.place} has {len(self) - lost:,} of "
                f"{len(self):,} rows; run the stage that writes it again, it resumes."
            )

    def __len__(self) -> int:
        """Number of rows."""
        return self.spec.rows

    def array_spec(self, array: str) -> ArraySpec:
        """Specification of one array.

        Raises:
            StoreError: If the split has no such array.
        """
        if array not in self.spec.arrays:
            raise StoreError(
                f"split {self.name} of {self._files.place} has no array {array!r}; "
                f"it has {', '.join(sorted(self.spec.arrays))}."
            )
        return self.spec.arrays[array]

    def read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of one array, read-only; a view where one chunk holds them.

        Raises:
            StoreError: If the split has no such array or no such rows.
            CorruptStoreError: If a chunk is missing, truncated or changed.
        """
        self.array_spec(array)
        if not 0 <= start < stop <= len(self):
            raise StoreError(
                f"rows {start} to {stop} of split {self.name} were asked for; it has rows 0 to "
                f"{len(self)}, and a range holds at least one."
            )
        step = self._files.chunk_rows
        parts = [
            self._chunk(array, chunk)[max(start - chunk * step, 0) : stop - chunk * step]
            for chunk in range(start // step, -(-stop // step))
        ]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows.flags.writeable = False
        return rows

    def _chunk(self, array: str, chunk: int) -> NDArray[Any]:
        key = (array, chunk)
        if key not in self._mapped:
            while len(self._mapped) >= MAPPED_CHUNKS:
                self._mapped.pop(next(iter(self._mapped)))
            if chunk == 0 or (array, chunk - 1) in self._mapped:
                self._files.ahead(array, range(chunk + 1, chunk + 1 + AHEAD))
            self._mapped[key] = self._files.map(array, chunk, self._sums[chunk][array])
        return self._mapped[key]
