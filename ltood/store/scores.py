"""The score store: one OOD score and one prediction per row, with what made them.

`<split>/scores` [N] float32, higher means more OOD; `<split>/predictions` [N] int64;
`<split>/labels` and `<split>/ids` as in the feature store. The configuration of all
three slots and the provenance of the features stand in the attributes.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.store.chunks import (
    StoredRows,
    create_skeleton,
    mark_complete,
    read_attributes,
    spec_from_json,
    write_chunk,
)
from ltood.store.layout import OOD_PREFIX, ArraySpec, SplitSpec, StoreSpec

KIND = "scores"
DIRECTION = "higher means more OOD"
ARRAYS = {
    "scores": ArraySpec("float32"),
    "predictions": ArraySpec("int64"),
    "labels": ArraySpec("int64"),
    "ids": ArraySpec("int64"),
}


@dataclass(frozen=True)
class ScoreSplit:
    """Scores of one split, aligned by row and read-only.

    Attributes:
        scores: OOD scores, [N] float32; higher means more OOD.
        predictions: Predicted classes, [N] int64.
        labels: Classes, [N] int64; -1 for OOD rows, a class for rows of an OOD set
            that belong to an ID class (`sc_label`).
        ids: Row numbers in the dataset, [N] int64.
    """

    scores: NDArray[np.float32]
    predictions: NDArray[np.int64]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.scores)


class ScoreStore:
    """A score store opened for reading."""

    def __init__(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Wrap a store whose attributes were read; use `open`."""
        self.path = path
        self.attributes = dict(attributes)
        self._specs = spec_from_json(attributes["splits"])

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a store read-only.

        Raises:
            StoreError: If there is none, or it is of another kind or schema.
        """
        path = Path(path)
        return cls(path, read_attributes(path, KIND))

    @property
    def splits(self) -> list[str]:
        """Split names: train, val, test, aux where present, then OOD sets by name."""
        order = {name: rank for rank, name in enumerate(("train", "val", "test", "aux"))}
        return sorted(self._specs, key=lambda name: (order.get(name, len(order)), name))

    @property
    def ood_splits(self) -> list[str]:
        """Names of the OOD test sets, with their prefix."""
        return [name for name in self.splits if name.startswith(OOD_PREFIX)]

    def split(self, name: str) -> ScoreSplit:
        """Read one split.

        Raises:
            StoreError: If there is no such split.
            CorruptStoreError: If its bytes are missing or changed.
        """
        if name not in self._specs:
            raise StoreError(f"{self.path} has no split {name!r}; it has {', '.join(self.splits)}.")
        spec, chunk_rows = self._specs[name]
        rows = StoredRows(self.path, name, spec, chunk_rows)
        return ScoreSplit(*(rows.read(key, 0, len(rows)) for key in ARRAYS))


class ScoreWriter:
    """Writes a score store beside its final path and moves it there when complete.

    Use as a context manager; leaving it by an error leaves the old store as it was.
    """

    def __init__(
        self,
        path: Path | str,
        rows: Mapping[str, int],
        attributes: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> None:
        """Prepare a store.

        Args:
            path: Final folder.
            rows: Number of rows of each split.
            attributes: Slots' names and settings, class counts, provenance.
            overwrite: Replace an existing store at the end.

        Raises:
            StoreError: If `path` exists and `overwrite` is off.
        """
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise StoreError(f"{self.path} exists already; pass --overwrite or another path.")
        self.spec = StoreSpec({name: SplitSpec(count, ARRAYS) for name, count in rows.items()})
        self._building = self.path.with_name(f".{self.path.name}.{os.getpid()}.building")
        shutil.rmtree(self._building, ignore_errors=True)
        content = {**attributes, "kind": KIND, "direction": DIRECTION}
        create_skeleton(self._building, self.spec, content, {})
        self._pending: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in rows}
        self._written = dict.fromkeys(rows, 0)

    def __enter__(self) -> Self:
        """Start writing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Move the store into place, or remove it after an error."""
        if kind is not None:
            shutil.rmtree(self._building, ignore_errors=True)
            return
        for name, split in self.spec.splits.items():
            self._flush(name, last=True)
            if self._written[name] != split.rows:
                shutil.rmtree(self._building, ignore_errors=True)
                raise StoreError(
                    f"split {name} got {self._written[name]} rows; {split.rows} were announced."
                )
        mark_complete(self._building)
        if self.path.exists():
            shutil.rmtree(self.path)
        self._building.rename(self.path)

    def append(self, split: str, rows: ScoreSplit) -> None:
        """Add the next rows of `split`."""
        self._pending[split].append({key: getattr(rows, key) for key in ARRAYS})
        self._flush(split, last=False)

    def _flush(self, split: str, *, last: bool) -> None:
        """Write all full chunks of what is pending, and the rest if `last`."""
        step = self.spec.chunk_rows(split)
        pending = self._pending[split]
        count = sum(len(part["scores"]) for part in pending)
        if not count or (count < step and not last):
            return
        joined = {key: np.concatenate([part[key] for part in pending]) for key in ARRAYS}
        done = 0
        while count - done >= step or (last and done < count):
            stop = min(done + step, count)
            start = self._written[split]
            write_chunk(
                self._building,
                split,
                start // step,
                (start, start + stop - done),
                step,
                ARRAYS,
                {key: values[done:stop] for key, values in joined.items()},
            )
            self._written[split] += stop - done
            done = stop
        self._pending[split] = [{key: values[done:] for key, values in joined.items()}]


def copy_scores(source: ScoreStore, out: Path, *, overwrite: bool = False) -> ScoreStore:
    """Write the same scores to another place, verified on the way.

    Raises:
        StoreError: If `out` exists and `overwrite` is off.
        CorruptStoreError: If the source's bytes are missing or changed.
    """
    carried = {
        key: value
        for key, value in source.attributes.items()
        if key not in {"splits", "complete", "schema"}
    }
    splits = {name: source.split(name) for name in source.splits}
    rows = {name: len(split) for name, split in splits.items()}
    with ScoreWriter(out, rows, carried, overwrite=overwrite) as writer:
        for name, split in splits.items():
            writer.append(name, split)
    return ScoreStore.open(out)
