"""Chunk files, markers and checksums: the part of a store that touches disk.

A chunk is written to a temporary name, flushed to disk and renamed; its marker
follows in the same way. So a process killed at any moment leaves whole chunks, and a
chunk without a marker counts as unwritten. A marker names the split it belongs to by the
split's identity, so that chunks of another store are refused. Readers verify the checksum
of every chunk file the first time that the process touches it.
"""

import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import to_json_bytes
from ltood.store.disks import Disk, LocalDisk, read_document
from ltood.store.layout import ArraySpec, SplitSpec

MARKERS = ".done"
#: A file may change again without a new time stamp for so long, in ns.
_TICK = 20_000_000
#: Files that this process has verified, with the checksum that they had.
_verified: set[tuple[int, int, int, int, str]] = set()


def checksum(data: bytes | NDArray[Any]) -> str:
    """crc32c of the bytes of `data` as eight hexadecimal digits."""
    return f"{int(google_crc32c.value(data)):08x}"


def raw_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of an array as little-endian rows."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


def chunk_path(folder: Path, array: str, chunk: int, ndim: int) -> Path:
    """File of chunk number `chunk` along the rows, below the folder of a split or head."""
    base = folder / array / "c"
    return base.joinpath(str(chunk), *["0"] * (ndim - 1)) if ndim else base


class SplitFiles:
    """Chunks and markers of one split.

    Attributes:
        folder: Where they are.
        name: Name of the split, for messages.
        spec: Its rows and arrays, with a fingerprint.
        chunk_rows: Rows of one chunk.
        identity: What its markers must name.
        disk: How they are reached.
    """

    def __init__(
        self, folder: Path, name: str, spec: SplitSpec, chunk_rows: int, disk: Disk | None = None
    ) -> None:
        """Name the files; nothing is read."""
        self.folder, self.name, self.spec, self.chunk_rows = folder, name, spec, chunk_rows
        self.disk = disk or LocalDisk(folder)
        self.identity = spec.identity(chunk_rows)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Row ranges [start, stop) of all chunks, in order."""
        rows, step = self.spec.rows, self.chunk_rows
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    @property
    def place(self) -> str:
        """The store, for messages."""
        return self.disk.show(self.folder.parents[self.name.count("/")])

    def bytes_of(self, array: str) -> int:
        """Bytes of the file of a chunk of one array."""
        return self.chunk_rows * self.spec.arrays[array].row_bytes

    def chunk_path(self, array: str, chunk: int) -> Path:
        """File of one chunk of one array."""
        return chunk_path(self.folder, array, chunk, 1 + len(self.spec.arrays[array].shape))

    def marker_path(self, chunk: int) -> Path:
        """Marker of a complete chunk."""
        return self.folder / MARKERS / f"{chunk:06d}.json"

    def write(self, chunk: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write all arrays of one row range, then its marker.

        The last chunk is padded with fill values, since Zarr stores chunks whole.

        Raises:
            StoreError: If a value does not fit the stored type, or a file cannot be written.
        """
        sums = {}
        for name, raw in self.encoded(chunk, values):
            self.disk.write(self.chunk_path(name, chunk), raw.data)
            sums[name] = checksum(raw)
        self.mark(chunk, sums)

    def encoded(
        self, chunk: int, values: Mapping[str, NDArray[Any]]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Name and bytes of each array's file for one row range, padded to a whole chunk.

        Raises:
            StoreError: If a value does not fit the stored type.
        """
        start, stop = self.ranges[chunk]
        for name, spec in sorted(self.spec.arrays.items()):
            padded = np.full((self.chunk_rows, *spec.shape), spec.fill_value, f"{spec.dtype}")
            try:
                with np.errstate(over="raise"):
                    padded[: stop - start] = values[name]
            except FloatingPointError:
                raise StoreError(
                    f"{name} of split {self.name} has values of rows {start} to {stop} that are "
                    f"too large for {spec.dtype}; scale them or store a wider type."
                ) from None
            yield name, raw_bytes(padded)

    def mark(self, chunk: int, sums: Mapping[str, str]) -> None:
        """Write the marker of a chunk whose arrays are there.

        Args:
            chunk: Number of the chunk.
            sums: Checksum of each array's file by name.
        """
        marker = {"split": self.identity, "rows": list(self.ranges[chunk]), "crc32c": dict(sums)}
        self.disk.write(self.marker_path(chunk), to_json_bytes(marker))

    def read_marker(self, chunk: int) -> dict[str, str] | None:
        """Checksums of a chunk's arrays by name, or None if the chunk is not written.

        Raises:
            CorruptStoreError: If the marker is unreadable, or belongs to other rows or another
                store.
        """
        path = self.marker_path(chunk)
        remedy = "delete it and run the stage that wrote the store again, it writes only this chunk"
        try:
            content = read_document(self.disk, path, remedy)
        except FileNotFoundError:
            return None
        start, stop = self.ranges[chunk]
        sums = content.get("crc32c") if isinstance(content, dict) else None
        if (
            not isinstance(sums, dict)
            or sums.keys() != self.spec.arrays.keys()
            or content.get("rows") != [start, stop]
        ):
            raise CorruptStoreError(
                f"{self.disk.show(path)} is not the marker of rows {start} to {stop}; {remedy}."
            )
        if content.get("split") != self.identity:
            raise CorruptStoreError(
                f"{self.disk.show(path)} belongs to a split that was made from something else; "
                f"{remedy}."
            )
        return sums

    def read_markers(self) -> list[dict[str, str] | None]:
        """What `read_marker` gives for each chunk, with some requests at a time to an address."""
        count = -(-self.spec.rows // self.chunk_rows)
        return list(self.disk.each(self.read_marker, range(count)))

    def verify(self, chunk: int) -> dict[str, str] | None:
        """Checksums of a chunk's arrays whose bytes have them, or None if it is not written.

        Raises:
            CorruptStoreError: If the marker or bytes are missing or changed.
        """
        sums = self.read_marker(chunk)
        for array, crc in (sums or {}).items():
            self.disk.drop(self.chunk_path(array, chunk))  # What is at an address counts.
            self.map(array, chunk, crc)
        return sums

    def map(self, array: str, chunk: int, crc: str) -> NDArray[Any]:
        """Memory-map one chunk after checking its size and checksum.

        Returns:
            The chunk with its padding, [chunk_rows, ...], read-only.

        Raises:
            CorruptStoreError: If the file is missing, truncated or changed.
            TransferError: If an address refuses or cannot be reached.
        """
        path = self.chunk_path(array, chunk)
        try:
            return self._map(path, self.spec.arrays[array], chunk, crc)
        except (CorruptStoreError, FileNotFoundError):
            # A copy may be damaged, of another store, or removed by another process just now.
            if not self.disk.drop(path):
                raise
            return self._map(path, self.spec.arrays[array], chunk, crc)

    def ahead(self, array: str, chunks: range) -> None:
        """Say that these chunks will be read next, as far as there are so many."""
        if self.disk.is_near:
            return  # The system reads ahead by itself.
        count = -(-self.spec.rows // self.chunk_rows)
        paths = [self.chunk_path(array, chunk) for chunk in chunks if chunk < count]
        self.disk.ahead(paths, self.bytes_of(array))

    def _map(self, path: Path, spec: ArraySpec, chunk: int, crc: str) -> NDArray[Any]:
        expected = self.chunk_rows * spec.row_bytes
        try:
            here = self.disk.bring(path, expected)
            found = here.stat()
        except OSError:
            raise self._corrupt(path, chunk, "is missing although its marker exists") from None
        if not stat.S_ISREG(found.st_mode):
            raise self._corrupt(path, chunk, "is not a regular file; remove it")
        if found.st_size != expected:
            raise self._corrupt(path, chunk, f"has {found.st_size} bytes instead of {expected}")
        # Copy-on-write keeps the file safe even from code that writes through a raw pointer.
        dtype, shape = np.dtype(spec.dtype).newbyteorder("<"), (self.chunk_rows, *spec.shape)
        mapped = np.memmap(here, dtype=dtype, mode="c", shape=shape)
        changed = max(found.st_mtime_ns, found.st_ctime_ns)
        key = (found.st_dev, found.st_ino, found.st_size, changed, crc)
        if key not in _verified:
            computed = checksum(mapped)
            if computed != crc:
                raise self._corrupt(
                    path, chunk, f"has checksum {computed} but {crc} was written; its bytes changed"
                )
            if time.time_ns() - changed > _TICK:
                _verified.add(key)
        view = np.asarray(mapped)
        view.flags.writeable = False
        return view

    def _corrupt(self, path: Path, chunk: int, fault: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"{self.disk.show(path)} {fault}. Delete {self.disk.show(self.marker_path(chunk))} and "
            "run the stage that wrote the store again; it writes only this chunk."
        )
