"""The feature store: features, logits, labels and ids of each split, and the head.

Written by extraction or import, read by everything in stage two. A store carries a
fingerprint of all that went into it; a writer resumes only a store with the same
fingerprint, and a finished store has the same bytes however it came about.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, FingerprintError, MissingNeedError, StoreError
from ltood.core.prior import ClassPrior
from ltood.store.chunks import (
    StoredRows,
    head_digests,
    read_attributes,
    read_head,
    read_marker,
    remove_temporaries,
    seal_root,
    write_chunk,
)
from ltood.store.content import HEAD_ARRAYS, check_content
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec
from ltood.store.opened import OpenedStore
from ltood.store.skeleton import create_skeleton

KIND = "features"
#: Largest amount that `FeatureSplit.load` puts into memory.
LOAD_LIMIT_GIB = 8.0
__all__ = [
    "HEAD_ARRAYS",
    "ArraySpec",
    "FeatureSplit",
    "FeatureStore",
    "FeatureWriter",
    "SplitSpec",
    "StoreSpec",
]


class FeatureSplit(StoredRows):
    """Rows of one split of a feature store, lazily read and read-only."""

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self.spec.arrays["features"].shape[-1]

    @property
    def num_outputs(self) -> int:
        """Columns of the logits, C + e."""
        return self.spec.arrays["logits"].shape[0]

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays this split holds."""
        return sorted(self.spec.arrays)

    def batches(
        self, rows: int, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield all rows in order, at most `rows` at a time, reading only `arrays`.

        Raises:
            StoreError: If `rows` is below 1 or the split lacks one of `arrays`.
            CorruptStoreError: If a chunk is missing, truncated or changed.
        """
        if rows < 1:
            raise StoreError(f"batches of {rows} rows were asked for; a batch holds at least 1.")
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield {name: self.read(name, start, stop) for name in arrays}

    def load(self, arrays: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Read whole arrays into memory.

        Raises:
            StoreError: If together they are larger than the limit or the split lacks one.
        """
        held = [self.array_spec(name) for name in arrays]
        size = sum(spec.row_bytes for spec in held) * len(self) / 2**30
        if size > LOAD_LIMIT_GIB:
            raise StoreError(
                f"{', '.join(arrays)} of split {self.name} take {size:.1f} GiB, more than the "
                f"limit of {LOAD_LIMIT_GIB:g}; read them with batches()."
            )
        return {name: self.read(name, 0, len(self)) for name in arrays}


class FeatureStore(OpenedStore):
    """A feature store opened for reading."""

    KIND: ClassVar[str] = KIND

    @property
    def provenance(self) -> dict[str, Any]:
        """What the features were made from."""
        return dict(self.attributes["provenance"])

    @property
    def fingerprint(self) -> str:
        """Digest of everything that went into the store."""
        return str(self.attributes["fingerprint"])

    @property
    def class_names(self) -> list[str]:
        """Names of the ID classes in label order."""
        return list(self.attributes["class_names"])

    def split(self, name: str) -> FeatureSplit:
        """Open one split.

        Raises:
            StoreError: If there is no such split.
            IncompleteStoreError: If it has unwritten rows.
        """
        spec, chunk_rows = self.split_spec(name)
        return FeatureSplit(self.path, name, spec, chunk_rows)

    def head_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the classifier head by name; weight [C, D] and bias [C] always.

        Raises:
            MissingNeedError: If the store was written without a head.
            CorruptStoreError: If they are missing or changed.
        """
        if not self.attributes["head"]:
            raise MissingNeedError(
                f"{self.path} has no head, because its backbone has none; adapt one with the "
                "recipe zero_shot, coop or locoop, and give its folder as the head (--head "
                "data/work/head)."
            )
        return read_head(self.path, self.attributes["head"])

    def prior(self) -> ClassPrior:
        """Class counts of the training set."""
        return ClassPrior(np.asarray(self.attributes["class_counts"], dtype=np.int64))


class FeatureWriter:
    """Writes a feature store chunk by chunk; safe to kill at any moment."""

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        """Wrap an existing skeleton; use `create` or `resume`."""
        self.path = path
        self.spec = spec

    @classmethod
    def create(
        cls,
        path: Path | str,
        spec: StoreSpec,
        provenance: Mapping[str, Any],
        head: Mapping[str, NDArray[Any]],
        class_names: Sequence[str],
        class_counts: Sequence[int] | NDArray[np.int64],
    ) -> Self:
        """Create an empty store.

        Args:
            path: Folder to create.
            spec: Splits and arrays.
            provenance: Plain values that say what the features are made from; no
                times or host names, so that equal inputs give equal bytes.
            head: Head arrays by name, as in `ClassifierHead`; none where the backbone has none.
            class_names: C names in label order.
            class_counts: C training counts.

        Raises:
            StoreError: If `path` exists.
            DataError: If head, names, counts and arrays disagree.
        """
        path = Path(path)
        attributes = _attributes(spec, provenance, head, class_names, class_counts)
        create_skeleton(path, spec, attributes, head)
        return cls(path, spec)

    @classmethod
    def resume(
        cls,
        path: Path | str,
        spec: StoreSpec,
        provenance: Mapping[str, Any],
        head: Mapping[str, NDArray[Any]],
        class_names: Sequence[str],
        class_counts: Sequence[int] | NDArray[np.int64],
    ) -> Self:
        """Go on with an existing store made from the same inputs.

        Raises:
            FingerprintError: If the inputs differ; names the first differences.
            StoreError: If `path` is no feature store.
        """
        path = Path(path)
        found = read_attributes(path, KIND)
        wanted = _attributes(spec, provenance, head, class_names, class_counts)
        if found["fingerprint"] != wanted["fingerprint"]:
            wanted["splits"] = spec.to_json()
            differing = _differences(found, wanted)
            raise FingerprintError(
                f"{path} was made from other inputs ({'; '.join(differing[:3])}). "
                "Remove it or write to another path."
            )
        return cls(path, spec)

    def missing(self, split: str) -> list[tuple[int, int]]:
        """Row ranges of `split` that are not written yet, each one whole chunk.

        Raises:
            CorruptStoreError: If a marker is unreadable or speaks of something else.
        """
        arrays = self.spec.splits[split].arrays
        return [
            rows
            for chunk, rows in enumerate(self.spec.ranges(split))
            if read_marker(self.path, split, chunk, rows, arrays) is None
        ]

    def write(self, split: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one whole row range that `missing` gave.

        Args:
            split: Split name.
            start: First row of the range.
            arrays: All arrays of the split, with the rows of the range.

        Raises:
            StoreError: If names, rows or shapes differ from the specification, or values
                do not fit the stored type.
        """
        spec, step = self.spec.splits[split], self.spec.chunk_rows(split)
        rows = (start, min(start + step, spec.rows))
        if start % step or start >= spec.rows:
            raise StoreError(f"row {start} starts no chunk of split {split} ({step} rows each).")
        if arrays.keys() != spec.arrays.keys():
            raise StoreError(
                f"split {split} takes {', '.join(sorted(spec.arrays))}; "
                f"got {', '.join(sorted(arrays))}."
            )
        for name, values in arrays.items():
            shape = (rows[1] - rows[0], *spec.arrays[name].shape)
            if values.shape != shape:
                raise StoreError(
                    f"{name} of split {split} at row {start} has shape {values.shape}; "
                    f"it must be {shape}."
                )
            if not np.can_cast(values.dtype, spec.arrays[name].dtype, "same_kind"):
                raise StoreError(
                    f"{name} of split {split} at row {start} is {values.dtype}; the store holds "
                    f"{spec.arrays[name].dtype}, convert it first."
                )
        write_chunk(self.path, split, start // step, rows, step, spec.arrays, arrays)

    def finish(self) -> None:
        """Declare the store complete; called by one process, after all others have written.

        Raises:
            StoreError: If a row range is missing.
        """
        for split in self.spec.splits:
            missing = self.missing(split)
            if missing:
                raise StoreError(
                    f"split {split} of {self.path} still misses rows from {missing[0][0]}."
                )
        remove_temporaries(self.path)
        seal_root(self.path, complete=True)


def _attributes(
    spec: StoreSpec,
    provenance: Mapping[str, Any],
    head: Mapping[str, NDArray[Any]],
    class_names: Sequence[str],
    class_counts: Sequence[int] | NDArray[np.int64],
) -> dict[str, Any]:
    """Attributes of a store, with the fingerprint over all of them."""
    counts = [int(count) for count in class_counts]
    check_content(spec, head, class_names, counts)
    content: dict[str, Any] = {
        "kind": KIND,
        "provenance": _plain(provenance),
        "head": head_digests(head),
        "class_names": list(class_names),
        "class_counts": counts,
    }
    hashed = json.dumps({**content, "splits": spec.to_json()}, sort_keys=True)
    content["fingerprint"] = hashlib.sha256(hashed.encode()).hexdigest()
    return content


def _plain(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The same values as they are read back: lists for tuples, text for keys."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(provenance), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the provenance holds something else than finite numbers, text, lists and "
            f"mappings ({error}); convert it."
        ) from None
    return plain


def _differences(found: Any, wanted: Any, where: str = "") -> list[str]:  # noqa: ANN401
    """Say where two nested values differ, one sentence each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        skipped = {"fingerprint", "complete", "schema"} if not where else set()
        sentences: list[str] = []
        for key in sorted((found.keys() | wanted.keys()) - skipped):
            inner = f"{where}.{key}" if where else str(key)
            sentences += _differences(found.get(key, "absent"), wanted.get(key, "absent"), inner)
        return sentences
    return [] if found == wanted else [f"{where} was {_short(found)}, now {_short(wanted)}"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
