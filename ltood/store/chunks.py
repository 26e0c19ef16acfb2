"""Chunk files, done-markers and checksums: the part of a store that touches disk.

A chunk is written to a temporary name, flushed to disk and renamed; its marker
follows in the same way. So a process killed at any moment leaves whole chunks, and a
chunk without a marker counts as unwritten. Readers verify the checksum of every
chunk file the first time they touch it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.runtime.files import TEMPORARY, to_json_bytes, write_atomically
from ltood.store.layout import SCHEMA, ArraySpec, SplitSpec

ATTRIBUTE = "ltood"
CHECKSUM_ATTRIBUTE = "ltood_crc32c"
HEAD_GROUP = "head"
#: Stands for a checksum that was compared before, so a chunk is not read twice for it.
VERIFIED = "verified"
#: Chunks of one split kept mapped; older maps are dropped so that memory stays bounded.
MAPPED_CHUNKS = 8


def remove_temporaries(root: Path) -> None:
    """Remove what killed writers left, so that a finished store has no file too many."""
    for path in root.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def checksum(data: bytes | NDArray[Any]) -> str:
    """crc32c of the bytes of `data` as eight hexadecimal digits."""
    return f"{int(google_crc32c.value(data)):08x}"


def raw_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of an array as little-endian rows."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


def chunk_path(root: Path, group: str, array: str, chunk: int, ndim: int) -> Path:
    """File of chunk number `chunk` along the rows."""
    base = root / group / array / "c"
    return base.joinpath(str(chunk), *["0"] * (ndim - 1)) if ndim else base


def marker_path(root: Path, split: str, chunk: int) -> Path:
    """Marker that says a chunk is complete."""
    return root / split / ".done" / f"{chunk:06d}.json"


def write_chunk(
    root: Path,
    split: str,
    chunk: int,
    rows: tuple[int, int],
    chunk_rows: int,
    arrays: Mapping[str, ArraySpec],
    values: Mapping[str, NDArray[Any]],
) -> None:
    """Write all arrays of one row range, then its marker.

    The last chunk is padded with fill values, since Zarr stores chunks whole.

    Raises:
        StoreError: If a value does not fit the stored type.
    """
    sums = {}
    for name, spec in sorted(arrays.items()):
        padded = np.full((chunk_rows, *spec.shape), spec.fill_value, dtype=f"{spec.dtype}")
        try:
            with np.errstate(over="raise"):
                padded[: rows[1] - rows[0]] = values[name]
        except FloatingPointError:
            raise StoreError(
                f"{name} of split {split} has values of rows {rows[0]} to {rows[1]} that are too "
                f"large for {spec.dtype}; scale them or store a wider type."
            ) from None
        raw = raw_bytes(padded)
        path = chunk_path(root, split, name, chunk, padded.ndim)
        write_atomically(path, raw.data, sweep=False)
        sums[name] = checksum(raw)
    marker = {"rows": list(rows), "crc32c": sums}
    write_atomically(marker_path(root, split, chunk), to_json_bytes(marker), sweep=False)


def read_marker(
    root: Path, split: str, chunk: int, rows: tuple[int, int], arrays: Iterable[str]
) -> dict[str, str] | None:
    """Checksums of a chunk's arrays by name, or None if the chunk is not written.

    Args:
        root: Store folder.
        split: Split name.
        chunk: Number of the chunk.
        rows: Row range [start, stop) that the marker must vouch for.
        arrays: Array names that it must vouch for.

    Raises:
        CorruptStoreError: If the marker is unreadable or speaks of something else.
    """
    path = marker_path(root, split, chunk)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise CorruptStoreError(
            f"{path} is unreadable ({error}); delete it and run the stage that wrote the store "
            "again, it writes only this chunk."
        ) from error
    sums = content.get("crc32c") if isinstance(content, dict) else None
    if (
        not isinstance(sums, dict)
        or sums.keys() != set(arrays)
        or content.get("rows") != list(rows)
    ):
        raise CorruptStoreError(
            f"{path} is no marker of rows {rows[0]} to {rows[1]}; delete it and run the stage that "
            "wrote the store again, it writes only this chunk."
        )
    return sums


def map_chunk(
    root: Path, split: str, array: str, chunk: int, chunk_rows: int, spec: ArraySpec, crc: str
) -> NDArray[Any]:
    """Memory-map one chunk after checking its size and checksum.

    Returns:
        The chunk with its padding, [chunk_rows, ...], read-only.

    Raises:
        CorruptStoreError: If the file is missing, truncated or changed.
    """
    shape = (chunk_rows, *spec.shape)
    path = chunk_path(root, split, array, chunk, len(shape))
    remedy = (
        f"Delete {marker_path(root, split, chunk)} and run the stage that wrote the store again; "
        "it writes only this chunk."
    )
    expected = chunk_rows * spec.row_bytes
    try:
        size = path.stat().st_size
    except OSError:
        raise CorruptStoreError(f"{path} is missing although its marker exists. {remedy}") from None
    if size != expected:
        raise CorruptStoreError(f"{path} has {size} bytes instead of {expected}. {remedy}")
    # Copy-on-write keeps the file safe even from code that writes through a raw pointer.
    mapped = np.memmap(path, dtype=np.dtype(spec.dtype).newbyteorder("<"), mode="c", shape=shape)
    found = crc if crc is VERIFIED else checksum(mapped)
    if found != crc:
        raise CorruptStoreError(
            f"{path} has checksum {found} but {crc} was written; its bytes changed. {remedy}"
        )
    view = np.asarray(mapped)
    view.flags.writeable = False
    return view


def read_head(root: Path, digests: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the head's arrays after checking their checksums.

    Raises:
        CorruptStoreError: If an array is missing or changed.
    """
    arrays = {}
    for name, entry in digests.items():
        shape = tuple(entry["shape"])
        path = chunk_path(root, HEAD_GROUP, name, 0, len(shape))
        try:
            raw = path.read_bytes()
        except OSError:
            raise CorruptStoreError(f"{path} is missing; write the store again.") from None
        if checksum(raw) != entry["crc32c"]:
            raise CorruptStoreError(f"{path} changed after it was written; write the store again.")
        values = np.frombuffer(raw, dtype=np.dtype(entry["dtype"]).newbyteorder("<"))
        arrays[name] = values.reshape(shape)
    return arrays


def head_digests(head: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Shape, type and checksum of each head array, for the attributes."""
    return {
        name: {
            "crc32c": checksum(raw_bytes(values)),
            "dtype": values.dtype.name,
            "shape": list(values.shape),
        }
        for name, values in sorted(head.items())
    }


def read_attributes(path: Path, kind: str) -> dict[str, Any]:
    """Our attributes of the store at `path`.

    Args:
        path: Store folder.
        kind: "features" or "scores".

    Raises:
        StoreError: If there is no such store or it is of another kind or schema.
    """
    document = _read_root(path)
    content = document.get("attributes", {}).get(ATTRIBUTE)
    if not isinstance(content, dict):
        raise StoreError(
            f"{path} is a Zarr group but no ltood store; `ltood import` makes one from arrays."
        )
    if content.get("schema") != SCHEMA:
        raise StoreError(
            f"{path} has schema {content.get('schema')}; this version reads {SCHEMA}. "
            "Write the store again with this version."
        )
    if content.get("kind") != kind:
        raise StoreError(f"{path} is a store of {content.get('kind')}, not of {kind}.")
    return content


def store_kind(path: Path) -> str:
    """Kind of the store at `path`: "features" or "scores".

    Raises:
        StoreError: If there is no store.
    """
    content = _read_root(path).get("attributes", {}).get(ATTRIBUTE)
    return str(content.get("kind")) if isinstance(content, dict) else "other"


def _read_root(path: Path) -> dict[str, Any]:
    """The root's Zarr metadata, compared with its checksum where it is ours."""
    file = path / "zarr.json"
    if not file.is_file():
        raise StoreError(f"{path} is no store: {file} does not exist.")
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise CorruptStoreError(f"{file} is unreadable ({error}); write the store again.") from None
    if not isinstance(document, dict) or not isinstance(document.get("attributes", {}), dict):
        raise CorruptStoreError(f"{file} is no Zarr metadata; write the store again.")
    attributes = document.get("attributes", {})
    content, found = attributes.get(ATTRIBUTE), attributes.get(CHECKSUM_ATTRIBUTE)
    ours = isinstance(content, dict) and content.get("schema") == SCHEMA
    if (ours or found is not None) and found != _root_checksum(document):
        raise CorruptStoreError(f"{file} changed after it was written; write the store again.")
    return document


def _root_checksum(document: Mapping[str, Any]) -> str:
    """Checksum of the root's metadata without the checksum itself."""
    rest = {k: v for k, v in document["attributes"].items() if k != CHECKSUM_ATTRIBUTE}
    return checksum(json.dumps({**document, "attributes": rest}, sort_keys=True).encode())


def seal_root(path: Path, *, complete: bool) -> None:
    """Rewrite the root's metadata with `complete` and with its checksum.

    The last write of a store; a store that is sealed already is left alone.
    """
    file = path / "zarr.json"
    document = json.loads(file.read_bytes())
    attributes = document["attributes"]
    attributes[ATTRIBUTE]["complete"] = complete
    sealed = _root_checksum(document)
    if attributes.get(CHECKSUM_ATTRIBUTE) != sealed:
        attributes[CHECKSUM_ATTRIBUTE] = sealed
        write_atomically(file, json.dumps(document, indent=2).encode())


def spec_from_json(splits: Mapping[str, Any]) -> dict[str, tuple[SplitSpec, int]]:
    """Split specifications and rows per chunk from a store's attributes."""
    return {
        name: (
            SplitSpec(
                entry["rows"],
                {
                    key: ArraySpec(array["dtype"], tuple(array["shape"]))
                    for key, array in entry["arrays"].items()
                },
            ),
            entry["rows_per_chunk"],
        )
        for name, entry in splits.items()
    }


class StoredRows:
    """Rows of one complete split, read in batches as read-only arrays."""

    def __init__(self, root: Path, name: str, spec: SplitSpec, chunk_rows: int) -> None:
        """Open a split; refuses one that has unwritten chunks.

        Raises:
            IncompleteStoreError: With the rows written so far.
        """
        self.name = name
        self.spec = spec
        self._root = root
        self._chunk_rows = chunk_rows
        self._sums: list[dict[str, str]] = []
        self._mapped: dict[tuple[str, int], NDArray[Any]] = {}
        lost = 0
        for chunk, start in enumerate(range(0, spec.rows, chunk_rows)):
            rows = (start, min(start + chunk_rows, spec.rows))
            sums = read_marker(root, name, chunk, rows, spec.arrays)
            self._sums.append(sums or {})
            lost += 0 if sums else rows[1] - rows[0]
        if lost:
            raise IncompleteStoreError(
                f"split {name} of {root} has {spec.rows - lost:,} of {spec.rows:,} rows; run the "
                "stage that writes it again, it resumes."
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
                f"split {self.name} of {self._root} has no array {array!r}; "
                f"it has {', '.join(sorted(self.spec.arrays))}."
            )
        return self.spec.arrays[array]

    def _chunk(self, array: str, chunk: int) -> NDArray[Any]:
        key = (array, chunk)
        if key not in self._mapped:
            spec = self.spec.arrays[array]
            crc = self._sums[chunk][array]
            while len(self._mapped) >= MAPPED_CHUNKS:
                self._mapped.pop(next(iter(self._mapped)))
            rows = map_chunk(self._root, self.name, array, chunk, self._chunk_rows, spec, crc)
            self._sums[chunk][array] = VERIFIED
            self._mapped[key] = rows
        return self._mapped[key]

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
        step = self._chunk_rows
        parts = [
            self._chunk(array, chunk)[max(start - chunk * step, 0) : stop - chunk * step]
            for chunk in range(start // step, -(-stop // step))
        ]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows.flags.writeable = False
        return rows
