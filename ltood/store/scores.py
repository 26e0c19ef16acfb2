"""The score store: one OOD score and one prediction per row, with what made them.

`<split>/scores` [N] float32, higher means more OOD; `<split>/predictions` [N] int64;
`<split>/labels` and `<split>/ids` as in the feature store. The configuration of all
three slots and the provenance of the features stand in the attributes.

Scores of streams (`ltood.core.streams`) also have `<split>/by_order` [N, K] float32, one column for
each stream and order, NaN where a stream left the row out; the attribute `stream` names the
columns, and `scores` is their mean, for looking at single rows only.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.runtime.drivers import refuse_address
from ltood.runtime.files import building_folder
from ltood.store.chunks import SplitFiles
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec
from ltood.store.metadata import seal_root, store_kind
from ltood.store.opened import OpenedStore
from ltood.store.skeleton import complete_attributes, fill_skeleton

KIND = "scores"
DIRECTION = "higher means more OOD"
ARRAYS = {
    "scores": ArraySpec("float32"),
    "predictions": ArraySpec("int64"),
    "labels": ArraySpec("int64"),
    "ids": ArraySpec("int64"),
}
#: Further array of scores of streams.
BY_ORDER = "by_order"


@dataclass(frozen=True)
class ScoreSplit:
    """Scores of one split, aligned by row and read-only.

    Attributes:
        scores: OOD scores, [N] float32; higher means more OOD.
        predictions: Predicted classes, [N] int64.
        labels: Classes, [N] int64; -1 for OOD rows, a class for rows of an OOD set
            that belong to an ID class (`sc_label`).
        ids: Row numbers in the dataset, [N] int64.
        by_order: Scores in each stream and order, [N, K] float32, NaN where the row was left out;
            None for scores that do not depend on other rows.
    """

    scores: NDArray[np.float32]
    predictions: NDArray[np.int64]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    by_order: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.scores)

    @property
    def columns(self) -> int:
        """Columns K of `by_order`; 0 where there is none."""
        return 0 if self.by_order is None else self.by_order.shape[1]


class ScoreStore(OpenedStore):
    """A score store opened for reading."""

    KIND: ClassVar[str] = KIND

    def split(self, name: str) -> ScoreSplit:
        """Read one split.

        Raises:
            StoreError: If there is no such split.
            CorruptStoreError: If its bytes are missing or changed.
        """
        rows = self.rows(name)
        known = [key for key in (*ARRAYS, BY_ORDER) if key in rows.spec.arrays]
        return ScoreSplit(**{key: rows.read(key, 0, len(rows)) for key in known})


class ScoreWriter:
    """Writes a score store next to its final path and moves it there when complete.

    Use as a context manager; leaving it by an error leaves the old store as it was.
    """

    def __init__(
        self,
        path: Path | str,
        rows: Mapping[str, int],
        attributes: Mapping[str, Any],
        *,
        columns: Mapping[str, int] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Prepare a store.

        Args:
            path: Final folder.
            rows: Number of rows of each split.
            attributes: Slots' names and settings, class counts, provenance.
            columns: Columns of `by_order` of each split; None for scores that have none.
            overwrite: Replace an existing store at the end.

        Raises:
            StoreError: If `path` exists and `overwrite` is off, or it is not a score store.
        """
        self.path = refuse_address(path)
        if self.path.exists() and not overwrite:
            raise StoreError(f"{self.path} exists already; pass --overwrite or another path.")
        _check_replaceable(self.path)
        self._overwrite = overwrite
        content = {**attributes, "kind": KIND, "direction": DIRECTION}
        arrays = {name: _arrays((columns or {}).get(name, 0)) for name in rows}
        spec = StoreSpec({name: SplitSpec(count, arrays[name]) for name, count in rows.items()})
        self.spec = spec.bound(content)
        self._attributes = complete_attributes(self.spec, content)
        self._pending: dict[str, dict[str, NDArray[Any]]] = {}
        self._written = dict.fromkeys(rows, 0)
        self._received = dict.fromkeys(rows, 0)

    def __enter__(self) -> Self:
        """Make an empty store next to the final path.

        Raises:
            StoreError: If it cannot be written.
        """
        with ExitStack() as stack:
            self._building = stack.enter_context(
                building_folder(self.path, overwrite=self._overwrite)
            )
            fill_skeleton(self._building, self.spec, self._attributes, {})
            self._ending = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Move the store into place, or remove it after an error.

        Raises:
            StoreError: If rows are missing, it cannot be written, or another process made a
                store at the path meanwhile and `overwrite` is off.
        """
        if kind is not None:
            self._ending.__exit__(kind, error, traceback)
            return
        with self._ending:
            self._finish()

    def append(self, split: str, rows: ScoreSplit) -> None:
        """Add the next rows of `split`.

        Raises:
            StoreError: If the split was not announced, or the arrays are not aligned, of the
                wrong type or more than announced.
        """
        if split not in self._written:
            raise StoreError(
                f"split {split!r} is not expected; the store takes {', '.join(self._written)}."
            )
        arrays = self.spec.splits[split].arrays
        part: dict[str, NDArray[Any]] = {key: getattr(rows, key) for key in arrays}
        for key, values in part.items():
            wanted = (len(rows), *arrays[key].shape)
            if np.shape(values) != wanted:
                raise StoreError(
                    f"{key} of split {split} has shape {np.shape(values)} for {len(rows)} scores; "
                    f"it must be {wanted}."
                )
            if not np.can_cast(values.dtype, arrays[key].dtype, "same_kind"):
                raise StoreError(
                    f"{key} of split {split} is {values.dtype}; the store holds "
                    f"{arrays[key].dtype}, convert it first."
                )
        self._received[split] += len(rows)
        if self._received[split] > self.spec.splits[split].rows:
            raise self._wrong_count(split)
        step = self.spec.chunk_rows(split)
        # One chunk of memory, filled again and again: small arrays kept from every batch
        # would lie between its large ones, so that the allocator never reused their space.
        if split not in self._pending:
            self._pending[split] = _buffers(step, arrays)
        pending = self._pending[split]
        done = 0
        while done < len(rows):
            held = (self._received[split] - len(rows) + done) % step
            count = min(step - held, len(rows) - done)
            for key, values in part.items():
                pending[key][held : held + count] = values[done : done + count]
            done += count
            if held + count == step:
                self._flush(split, step)

    def _wrong_count(self, split: str) -> StoreError:
        return StoreError(
            f"split {split} got {self._received[split]} rows; "
            f"{self.spec.splits[split].rows} were expected."
        )

    def _finish(self) -> None:
        """Write what is pending and seal the store."""
        for name, split in self.spec.splits.items():
            if self._received[name] != split.rows:
                raise self._wrong_count(name)
            if self._written[name] < split.rows:
                self._flush(name, split.rows - self._written[name])
        seal_root(self._building, complete=True)

    def _flush(self, split: str, count: int) -> None:
        """Write the first `count` pending rows as the next chunk."""
        spec, step = self.spec.splits[split], self.spec.chunk_rows(split)
        rows = {key: values[:count] for key, values in self._pending[split].items()}
        files = SplitFiles(self._building / split, split, spec, step)
        files.write(self._written[split] // step, rows)
        self._written[split] += count


def _arrays(columns: int) -> dict[str, ArraySpec]:
    """Arrays of a split with that many columns by stream and order."""
    return {**ARRAYS, BY_ORDER: ArraySpec("float32", (columns,))} if columns else dict(ARRAYS)


def _buffers(rows: int, arrays: Mapping[str, ArraySpec]) -> dict[str, NDArray[Any]]:
    """Room for one chunk, in the widest types, so that writing it can still refuse a value."""
    return {
        key: np.empty(
            (rows, *spec.shape), np.float64 if np.dtype(spec.dtype).kind == "f" else np.int64
        )
        for key, spec in arrays.items()
    }


def _check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a score store, even with --overwrite."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        kind = store_kind(path)
    except StoreError as error:
        raise StoreError(f"{path} is not replaced: {error} Remove it by hand.") from error
    if kind != KIND:
        raise StoreError(
            f"{path} is not replaced: it is a store of {kind}, not of {KIND}. Choose another path."
        )


def copy_scores(source: ScoreStore, out: Path, *, overwrite: bool = False) -> ScoreStore:
    """Write the same scores to another place, verified on the way.

    Raises:
        StoreError: If `out` exists and `overwrite` is off.
        CorruptStoreError: If the source's bytes are missing or changed.
    """
    carried = {
        key: value
        for key, value in source.attributes.items()
        if key not in {"splits", "complete", "schema", "fingerprint"}
    }
    splits = {name: source.split(name) for name in source.splits}
    rows = {name: len(split) for name, split in splits.items()}
    columns = {name: split.columns for name, split in splits.items()}
    with ScoreWriter(out, rows, carried, columns=columns, overwrite=overwrite) as writer:
        for name, split in splits.items():
            writer.append(name, split)
    return ScoreStore.open(out)
