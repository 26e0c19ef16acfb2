"""Rows of several stores of the same images, side by side and batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.exports.paths import Paths
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore
from ltood.store.verifying import open_store

#: Bytes of features that one batch may hold, and its most rows.
_BATCH_BYTES, _BATCH_ROWS = 16 * 2**20, 8192


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of one split.

    Attributes:
        split: Its name.
        start: Number of the first row.
        ids: Row numbers in the dataset, [n] int64.
        labels: Classes, [n] int64; -1 where a row belongs to none.
        predictions: Predicted classes by name of the scores, each [n] int64.
        scores: OOD scores by name, each [n] float32; higher means more OOD.
        is_ood: Verdicts by name of the scores, each [n] bool; only where there is a threshold.
        paths: Image files, [n]; None where a row has none.
        features: Features, [n, D] float32 or None.
    """

    split: str
    start: int
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: Mapping[str, NDArray[np.int64]]
    scores: Mapping[str, NDArray[np.float32]]
    is_ood: Mapping[str, NDArray[np.bool_]]
    paths: Sequence[str | None]
    features: NDArray[np.float32] | None

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.ids)


class RowTable:
    """Score stores, and at most one feature store, of the same images.

    Attributes:
        scores: Score stores by the name of their columns.
        features: The feature store, or None.
        splits: Names of the splits that are read, in order.
        class_names: Names of the ID classes in label order.
        thresholds: Largest score that counts as ID, by name; may be filled in before reading.
    """

    def __init__(
        self, stores: Sequence[Path], splits: Sequence[str] = (), paths: Paths | None = None
    ) -> None:
        """Open stores.

        Args:
            stores: Score stores and at most one feature store.
            splits: Splits to read; those that all stores have by default.
            paths: Where the images lie.

        Raises:
            StoreError: If there is none, there are two feature stores or two stores of one name,
                they have other classes, or a split is missing.
        """
        opened = [open_store(path) for path in stores]
        if not opened:
            raise StoreError("no store was given; give score stores, a feature store or both.")
        held = [store for store in opened if isinstance(store, FeatureStore)]
        if len(held) > 1:
            raise StoreError(
                f"{held[1].path} is a second feature store; give at most one, and score stores."
            )
        self.features = held[0] if held else None
        self.scores = _named([store for store in opened if isinstance(store, ScoreStore)])
        self.class_names = _class_names(opened)
        shared = [name for name in opened[0].image_splits if all(name in s.splits for s in opened)]
        missing = [name for name in splits if name not in shared]
        if missing or not shared:
            raise StoreError(
                f"not every store has the split {missing[0] if missing else 'test'}; all have "
                f"{', '.join(shared) or 'none'}."
            )
        self.splits = [name for name in shared if name in splits or not splits]
        self.thresholds: dict[str, float] = {}
        self._opened, self._paths = opened, paths

    @property
    def dim(self) -> int | None:
        """Width of the features, or None."""
        if self.features is None:
            return None
        return self.features.split(self.splits[0]).dim

    @property
    def num_rows(self) -> int:
        """Rows of all splits that are read."""
        return sum(len(self._opened[0].rows(name)) for name in self.splits)

    @property
    def batch_rows(self) -> int:
        """Most rows of one batch."""
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // (4 * (self.dim or 1))))

    def columns_of(self, name: str) -> tuple[str, str, str]:
        """Names of what one score store gives: prediction, score and verdict."""
        behind = f"_{name}" if len(self.scores) > 1 else ""
        return f"prediction{behind}", f"score{behind}", f"verdict{behind}"

    def classes(self, numbers: Sequence[int]) -> list[str | None]:
        """Names of classes; None for -1, and the number where classes have no names."""
        names = self.class_names
        return [
            None if one < 0 else names[one] if one < len(names) else str(one) for one in numbers
        ]

    def batches(self) -> Iterator[Rows]:
        """All rows, split by split and in order.

        Raises:
            StoreError: If the stores hold other rows in a split.
            DataError: If the images are others.
            CorruptStoreError: If stored bytes are missing or changed.
        """
        for name in self.splits:
            counts = {str(store.path): len(store.rows(name)) for store in self._opened}
            if len(set(counts.values())) > 1:
                raise StoreError(
                    f"split {name} has {', '.join(f'{n:,} rows in {p}' for p, n in counts.items())}"
                    "; give stores of the same images."
                )
            rows = next(iter(counts.values()))
            for start in range(0, rows, self.batch_rows):
                yield self._read(name, start, min(start + self.batch_rows, rows))

    def _read(self, name: str, start: int, stop: int) -> Rows:
        def read(store: FeatureStore | ScoreStore, array: str) -> NDArray[Any]:
            return store.rows(name).read(array, start, stop)

        first = self._opened[0]
        ids, labels = read(first, "ids"), read(first, "labels")
        for other in self._opened[1:]:
            for array, values in (("ids", ids), ("labels", labels)):
                if not np.array_equal(read(other, array), values):
                    raise StoreError(
                        f"{array} of split {name} differ in {first.path} and {other.path}; give "
                        "stores of the same images, in the same order."
                    )
        scores = {key: read(store, "scores") for key, store in self.scores.items()}
        features = None
        if self.features is not None:
            features = read(self.features, "features").astype(np.float32, copy=False)
        paths: Sequence[str | None] = [None] * (stop - start)
        if self._paths is not None:
            paths = self._paths.of(name, start, ids)
        # A threshold is a float64, which may lie between two scores.
        limits = {key: np.float64(value) for key, value in self.thresholds.items()}
        return Rows(
            split=name,
            start=start,
            ids=ids,
            labels=labels,
            predictions={key: read(store, "predictions") for key, store in self.scores.items()},
            scores=scores,
            is_ood={key: scores[key] > limit for key, limit in limits.items()},
            paths=paths,
            features=features,
        )


def _named(stores: Sequence[ScoreStore]) -> dict[str, ScoreStore]:
    """Score stores by a name that is an identifier: that of the folder."""
    found: dict[str, ScoreStore] = {}
    for store in stores:
        stem = Path(store.path).resolve().name.removesuffix(".zarr")
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem) or "scores"
        if name in found:
            raise StoreError(
                f"{store.path} and {found[name].path} would both give the column {name}; rename "
                "one of the folders."
            )
        found[name] = store
    return found


def _class_names(stores: Sequence[FeatureStore | ScoreStore]) -> list[str]:
    named = {str(store.path): list(store.attributes.get("class_names", [])) for store in stores}
    first, *others = named.items()
    for path, names in others:
        if names != first[1]:
            raise StoreError(f"{path} has other classes than {first[0]}; give stores of one study.")
    return first[1]
