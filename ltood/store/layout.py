"""Names, shapes and chunking of a store on disk.

A store is a Zarr v3 group that any Zarr reader opens. One group per split holds
arrays whose first axis is the row. They are uncompressed, unsharded and chunked by
whole rows, with the same rows per chunk for all arrays of a split, so that a chunk
file is the raw little-endian array and can be memory-mapped.

    store.zarr/zarr.json                       attributes, consolidated metadata
    store.zarr/<split>/<array>/c/<chunk>/0     raw rows
    store.zarr/<split>/.done/<chunk>.json      split, row range and checksums of that chunk
    store.zarr/<split>/<group>/...             extra arrays of the same rows, laid out as a split

A split has an identity, the digest of what its rows were made from and of how they are stored,
but not of its name. Markers carry it, and so does the store's fingerprint: rows of another store
are never taken for its own, and rows of a renamed split remain valid.

Extra arrays, such as features of perturbed images, are a part of their split: a group inside of
it with an identity, chunks and markers of its own. A part comes and goes without a change to
the bytes of its split.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ltood.core.errors import StoreError

SCHEMA = 2
CHUNK_BYTES = 16 * 2**20
OOD_PREFIX = "ood_"
#: Images of ID classes from elsewhere, such as corrupted or redrawn ones: covariate shift.
CSID_PREFIX = "csid_"
#: Outliers to tune on, which no test figure touches.
VAL_OOD_PREFIX = "val_ood_"
ID_SPLITS = ("train", "val", "test")
VAL_SPLIT = "val"
AUX_SPLIT = "aux"
#: Training images again, each row several augmented views; only extraction writes it.
VIEWS_SPLIT = "train_views"
SPLIT_RULE = (
    "a split is train, val, test, aux, ood_<name>, csid_<name> or val_ood_<name> with letters, "
    "digits, - and _"
)
#: Between a split and a group of extra arrays of its rows, as in "test/odin".
_PART = "/"
_GROUP_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
_SPLIT_PATTERN = re.compile(r"(train|val|test|aux|(ood|csid|val_ood)_[A-Za-z0-9][A-Za-z0-9_-]*)\Z")


def digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of plain values; infinity, which a setting may be, is one of them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ArraySpec:
    """One array of a split.

    Attributes:
        dtype: NumPy name, such as "float32"; stored little-endian.
        shape: Shape of one row, such as (512,) or ().
    """

    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def fill_value(self) -> float | int:
        """Fill value of unwritten rows: NaN or -1, never a plausible value."""
        return float("nan") if np.dtype(self.dtype).kind == "f" else -1


@dataclass(frozen=True)
class SplitSpec:
    """Rows and arrays of one split.

    Attributes:
        rows: Number of rows, at least 1.
        arrays: Specification of each array by name.
        fingerprint: Digest of all that decides the rows, but not of the split's name; None takes
            what the store was made from, and the name.
    """

    rows: int
    arrays: Mapping[str, ArraySpec]
    fingerprint: str | None = None

    def identity(self, chunk_rows: int) -> str:
        """Digest of what the rows were made from and of how they are stored."""
        return digest(self.to_json(chunk_rows))

    def to_json(self, chunk_rows: int) -> dict[str, Any]:
        """Plain values for the store's attributes."""
        return {
            "rows": self.rows,
            "rows_per_chunk": chunk_rows,
            "arrays": {
                key: {"dtype": array.dtype, "shape": list(array.shape)}
                for key, array in sorted(self.arrays.items())
            },
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class StoreSpec:
    """All splits of a store.

    Attributes:
        splits: Specification of each split by name.
        rows_per_chunk: Rows of one chunk; None chooses a power of two that makes the
            widest array's chunks 8 to 16 MiB.
    """

    splits: Mapping[str, SplitSpec]
    rows_per_chunk: int | None = None

    def __post_init__(self) -> None:
        """Refuse bad split names, empty splits, empty chunks and arrays that hold nothing."""
        for name, split in self.splits.items():
            if is_part(name):
                self._check_part(name)
            elif name != VIEWS_SPLIT:
                check_split_name(name)
            if split.rows < 1:
                raise StoreError(f"split {name} has no rows; leave it out or give it rows.")
            for key, array in split.arrays.items():
                if np.dtype(array.dtype).kind not in "fi" or array.row_bytes < 1:
                    raise StoreError(
                        f"{key} of split {name} has rows of {array.dtype} {array.shape}; a row "
                        "holds at least one float or signed integer."
                    )
        if self.rows_per_chunk is not None and self.rows_per_chunk < 1:
            raise StoreError(f"rows_per_chunk is {self.rows_per_chunk}; it must be 1 or more.")

    def _check_part(self, name: str) -> None:
        """Refuse extra arrays of rows that are not there."""
        owner, group = owner_of(name), group_of(name)
        if not _GROUP_PATTERN.match(group):
            raise StoreError(
                f"{group!r} is not a valid name of extra arrays; it holds letters, digits, - and _."
            )
        if owner not in self.splits or owner == VIEWS_SPLIT:
            check_split_name(name)  # It is not.
        rows = self.splits[owner].rows
        if self.splits[name].rows != rows:
            raise StoreError(
                f"extra arrays {group} of split {owner} have {self.splits[name].rows} rows; the "
                f"split has {rows}."
            )

    def chunk_rows(self, split: str) -> int:
        """Rows of one chunk of `split`; chunks of a part lie within those of its split."""
        own = self._own_chunk_rows(split)
        return min(own, self._own_chunk_rows(owner_of(split))) if is_part(split) else own

    def _own_chunk_rows(self, split: str) -> int:
        spec = self.splits[split]
        if self.rows_per_chunk is not None:
            return min(self.rows_per_chunk, spec.rows)
        widest = max(array.row_bytes for array in spec.arrays.values())
        rows = 2 ** max(0, (CHUNK_BYTES // widest).bit_length() - 1)
        return int(min(rows, 2 ** (spec.rows - 1).bit_length()))

    def ranges(self, split: str) -> list[tuple[int, int]]:
        """Row ranges [start, stop) of all chunks of `split`, in order."""
        rows, step = self.splits[split].rows, self.chunk_rows(split)
        return [(start, min(start + step, rows)) for start in range(0, rows, step)]

    def to_json(self) -> dict[str, Any]:
        """Plain values for the store's attributes."""
        return {
            name: split.to_json(self.chunk_rows(name))
            for name, split in sorted(self.splits.items())
        }

    def bound(self, made_from: Mapping[str, Any]) -> "StoreSpec":
        """The same, with a fingerprint for every split that has none.

        Args:
            made_from: Plain values that say what the whole store is made from.
        """
        splits = {
            name: replace(
                split, fingerprint=split.fingerprint or digest({"of": made_from, "split": name})
            )
            for name, split in self.splits.items()
        }
        return StoreSpec(splits, self.rows_per_chunk)


def may_name_split(name: str) -> bool:
    """Whether a name is one that a split may have."""
    return _SPLIT_PATTERN.match(name) is not None


def check_split_name(name: str) -> None:
    """Refuse a name that is not a valid split name.

    Raises:
        StoreError: With the rule.
    """
    if not may_name_split(name):
        raise StoreError(f"{name!r} is not a valid split name: {SPLIT_RULE}.")


def part_name(split: str, group: str) -> str:
    """Name of the part of a split that holds a group of extra arrays, such as "test/odin"."""
    return f"{split}{_PART}{group}"


def is_part(name: str) -> bool:
    """Whether a name is that of a part, and not of a split."""
    return _PART in name


def owner_of(name: str) -> str:
    """Split that a part belongs to; a split belongs to itself."""
    return name.partition(_PART)[0]


def group_of(name: str) -> str:
    """Group of extra arrays that a part holds; empty for a split."""
    return name.partition(_PART)[2]


def full_split_name(name: str) -> str:
    """Name of a split, where an OOD set may be called without its prefix."""
    return name if is_split_name(name) else f"{OOD_PREFIX}{name}"


def is_split_name(name: str) -> bool:
    """Whether a name is that of a split, or at least begins as one does."""
    prefixes = (OOD_PREFIX, CSID_PREFIX, VAL_OOD_PREFIX)
    return name in (*ID_SPLITS, AUX_SPLIT) or name.startswith(prefixes)


def is_id_split(name: str) -> bool:
    """Whether every row of a split shows an ID class, so that each has a label."""
    return name in ID_SPLITS or name.startswith(CSID_PREFIX)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of splits: train, val, test, aux and train_views where present, then the others."""
    given = set(names)
    known = [name for name in (*ID_SPLITS, AUX_SPLIT, VIEWS_SPLIT) if name in given]
    return known + sorted(given.difference(known))
