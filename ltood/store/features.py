"""The feature store: features, logits, labels and ids of each split, and the head.

Written by extraction or import, read by everything in stage two. A store carries a
fingerprint of all that went into it; a writer resumes only a store with the same
fingerprint, and a finished store has the same bytes however it came about.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.core.extras import extra_name, parted_extra
from ltood.core.prior import ClassPrior
from ltood.store.disks import Disk
from ltood.store.head import output_layer, read_head
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec, part_name
from ltood.store.opened import OpenedStore
from ltood.store.rows import StoredRows
from ltood.store.writer import KIND, FeatureWriter

if TYPE_CHECKING:
    from ltood.core.inputs import Need

#: Largest amount that `FeatureSplit.load` puts into memory.
LOAD_LIMIT_GIB = 8.0
_LOGITS = "logits"
__all__ = [
    "ArraySpec",
    "FeatureSplit",
    "FeatureStore",
    "FeatureWriter",
    "SplitSpec",
    "StoreSpec",
]


class FeatureSplit:
    """Rows of one split of a feature store, lazily read and read-only.

    Attributes:
        name: Name of the split.
        spec: Its rows and arrays, with logits where a head computes them, and with extra arrays
            by names such as "odin/features".
    """

    def __init__(
        self,
        rows: StoredRows,
        layer: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        extras: Mapping[str, StoredRows] | None = None,
    ) -> None:
        """Show stored rows.

        Args:
            rows: The rows.
            layer: Weight [C + e, D] and bias [C + e] from which logits are computed in float32
                whenever they are read; None shows the stored ones. Rows of several views have
                no logits of their own.
            extras: Rows of extra arrays by group.
        """
        self.name, self.spec = rows.name, rows.spec
        self._rows = rows
        self._layer = layer if len(rows.array_spec("features").shape) == 1 else None
        self._extras = extras or {}
        arrays = dict(self.spec.arrays)
        if self._layer is not None:
            arrays[_LOGITS] = ArraySpec("float32", self._layer[1].shape)
        for group, part in self._extras.items():
            arrays |= {extra_name(group, key): spec for key, spec in part.spec.arrays.items()}
        self.spec = dataclasses.replace(self.spec, arrays=arrays)

    def __len__(self) -> int:
        """Number of rows."""
        return self.spec.rows

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self.spec.arrays["features"].shape[-1]

    @property
    def num_outputs(self) -> int:
        """Columns of the logits, C + e."""
        return self.spec.arrays[_LOGITS].shape[0]

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays that can be read."""
        return sorted(self.spec.arrays)

    def array_spec(self, array: str) -> ArraySpec:
        """Specification of one array.

        Raises:
            StoreError: If the split has no such array.
        """
        if array in self.spec.arrays:
            return self.spec.arrays[array]
        return self._rows.array_spec(array)

    def read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of one array, read-only; a view where one chunk holds them.

        Raises:
            StoreError: If the split has no such array or no such rows.
            CorruptStoreError: If a chunk is missing, truncated or changed.
        """
        group, key = parted_extra(array)
        if group in self._extras:
            return self._extras[group].read(key, start, stop)
        if array != _LOGITS or self._layer is None:
            return self._rows.read(array, start, stop)
        weight, bias = self._layer
        features = self._rows.read("features", start, stop).astype(np.float32)
        logits: NDArray[Any] = features @ weight.T + bias
        logits.flags.writeable = False
        return logits

    def batches(
        self,
        rows: int,
        arrays: Sequence[str] = ("features", "logits", "labels"),
        first: int = 0,
        end: int | None = None,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield rows from `first` to `end` in order, at most `rows` at once, only `arrays`.

        Raises:
            StoreError: If `rows` is below 1 or the split lacks one of `arrays`.
            CorruptStoreError: If a chunk is missing, truncated or changed.
        """
        if rows < 1:
            raise StoreError(f"batches of {rows} rows were asked for; a batch holds at least 1.")
        last = len(self) if end is None else end
        for start in range(first, last, rows):
            stop = min(start + rows, last)
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
    """A feature store opened for reading; keeps the splits that were opened."""

    KIND: ClassVar[str] = KIND

    def __init__(self, disk: Disk, attributes: Mapping[str, Any]) -> None:
        """Wrap a store whose attributes were read; use `open`."""
        super().__init__(disk, attributes)
        self._splits: dict[str, FeatureSplit] = {}

    @property
    def remedies(self) -> "Mapping[Need, str]":
        """Empty: messages about missing parts use the standard advice."""
        return {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance of the features."""
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
        """Open one split; logits that are not stored follow from features and head.

        Raises:
            StoreError: If there is no such split.
            IncompleteStoreError: If it has unwritten rows.
        """
        if name not in self._splits:
            rows = self.rows(name)
            computed = bool(self.attributes["head"]) and _LOGITS not in rows.spec.arrays
            extras = {group: self.rows(part_name(name, group)) for group in self.groups(name)}
            self._splits[name] = FeatureSplit(rows, self._layer if computed else None, extras)
        return self._splits[name]

    def head_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the classifier head by name; none where the store was written without a head.

        Raises:
            CorruptStoreError: If they are missing or changed.
        """
        return dict(self._head)

    def prior(self) -> ClassPrior:
        """Class counts of the training set."""
        counts = np.asarray(self.attributes["class_counts"], dtype=np.int64)
        return ClassPrior(counts, tuple(self.class_names))

    @cached_property
    def _head(self) -> dict[str, NDArray[Any]]:
        return read_head(self.disk, self.attributes["head"])

    @cached_property
    def _layer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of all outputs: classes, then extra ones."""
        return output_layer(self.head_arrays())
