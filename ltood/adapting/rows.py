"""The stored rows that prompts are learned from, and their order in every epoch."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, MissingNeedError
from ltood.runtime.provenance import digest
from ltood.runtime.workspace import locate
from ltood.store.features import FeatureSplit, FeatureStore
from ltood.store.layout import VIEWS_SPLIT

#: Keeps the draws of rows apart from those of their order.
_DRAW, _ORDER = 1, 2
#: Rows that are read at once where all are.
_BLOCK_ROWS = 4096


class RowsConfig(Protocol):
    """Settings that choose the rows."""

    @property
    def section(self) -> str:
        """Section of `params.yaml`, for messages."""

    @property
    def shots(self) -> int | None:
        """Rows of each class; None takes all."""

    @property
    def rows(self) -> str | None:
        """File that lists rows; None draws them."""


@dataclass(frozen=True)
class TrainingRows:
    """Chosen rows of one split.

    Attributes:
        split: Split whose features are [V, D], or [D] where there is one view.
        rows: Their numbers in the split, [N].
        labels: Their classes, [N].
        ids: Their ids, [N].
        num_views: Views V of a row.
    """

    split: FeatureSplit
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    num_views: int

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self.rows)

    def read(
        self, array: str, chosen: NDArray[np.int64], views: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """One view each of some rows, as float32.

        Args:
            array: "features" or "local".
            chosen: Which of the N rows, [B].
            views: Which view of each, [B].
        """
        parts = []
        for row, view in zip(self.rows[chosen].tolist(), views.tolist(), strict=True):
            (found,) = self.split.read(array, row, row + 1)
            parts.append(found[view] if self.has_views else found)
        return np.stack(parts).astype(np.float32)

    def all_features(self) -> NDArray[Any]:
        """Features of all rows as they are stored, [N, V, D], read in the order of the store."""
        found: NDArray[Any] | None = None
        for start in range(0, len(self.split), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(self.split))
            inside = np.flatnonzero((self.rows >= start) & (self.rows < stop))
            if not len(inside):
                continue
            block = self.split.read("features", start, stop)[self.rows[inside] - start]
            block = block if self.has_views else block[:, None]
            if found is None:
                found = np.empty((len(self), *block.shape[1:]), block.dtype)
            found[inside] = block
        assert found is not None  # There is at least one row.
        return found

    def to_csv(self, seed: int, class_names: Sequence[str]) -> str:
        """The rows as a CSV file that `rows` of the recipe takes, one line per row."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["seed", "id", "label", "class_name"])
        for number, label in zip(self.ids.tolist(), self.labels.tolist(), strict=True):
            lines.writerow([seed, number, label, class_names[label]])
        return text.getvalue()

    @property
    def fingerprint(self) -> str:
        """Digest of all that is learned from, without the other splits of the store."""
        chosen = {
            name: hashlib.sha256(values.tobytes()).hexdigest()
            for name, values in (("rows", self.rows), ("ids", self.ids), ("labels", self.labels))
        }
        return digest({"split": self.split.spec.fingerprint, **chosen})

    @property
    def has_views(self) -> bool:
        """Whether a row holds an array of views."""
        return len(self.split.array_spec("features").shape) == 2


def training_rows(
    store: FeatureStore, config: RowsConfig, seed: int, *, local: bool
) -> TrainingRows:
    """The rows to learn from: of `train_views` where the store has it, otherwise of `train`.

    Args:
        store: Feature store.
        config: Says how many rows, or which.
        seed: Decides the draw.
        local: Whether local features are needed.

    Raises:
        MissingNeedError: If the store lacks the split or its local features.
        DataError: If the listed rows cannot be read or are not in the store, if views and
            training rows differ in number, or if a label has no class name.
    """
    name = VIEWS_SPLIT if VIEWS_SPLIT in store.splits else "train"
    if name not in store.splits:
        raise MissingNeedError(
            f"{store.path} has no split train or {VIEWS_SPLIT}, from which heads are learned; "
            "extract one or choose the recipe zero_shot."
        )
    split = store.split(name)
    if local and "local" not in split.arrays:
        raise MissingNeedError(
            f"split {name} of {store.path} has no local features, which this recipe learns from; "
            "extract them (backbones.clip.local: true) or choose the recipe coop."
        )
    # Views may be stored without labels: they are those of the training rows, in their order.
    labelled = split if {"labels", "ids"} <= set(split.arrays) else store.split("train")
    if len(labelled) != len(split):
        raise DataError(
            f"split {name} of {store.path} has {len(split)} rows and no labels but train has "
            f"{len(labelled)}; extract both from the same images."
        )
    held = labelled.load(["labels", "ids"])
    labels, ids = held["labels"].astype(np.int64), held["ids"].astype(np.int64)
    if config.rows is not None:
        rows = _listed(locate(config.rows), ids, labels, config, seed, store.class_names)
    elif config.shots is not None:
        rows = drawn(labels, ids, config.shots, seed)
    else:
        rows = np.arange(len(split))
    num_classes = len(store.class_names)
    strange = rows[(labels[rows] < 0) | (labels[rows] >= num_classes)]
    if len(strange):
        raise DataError(
            f"row {strange[0]} of split {name} has label {labels[strange[0]]}, but there are "
            f"{num_classes} class names; labels run from 0 to {num_classes - 1}."
        )
    shape = split.array_spec("features").shape
    num_views = shape[0] if len(shape) == 2 else 1
    return TrainingRows(split, rows, labels[rows], ids[rows], num_views)


def drawn(
    labels: NDArray[np.int64], ids: NDArray[np.int64], shots: int, seed: int
) -> NDArray[np.int64]:
    """Rows of a few-shot sample, `shots` of each class; smaller classes keep all.

    It depends on the ids, not on the order of the rows, and a sample with fewer shots is part of
    one with more.
    """
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(ids[rows], kind="stable")]
        rng = np.random.default_rng([_DRAW, seed % 2**63, int(label)])
        chosen.append(rng.permutation(rows)[:shots])
    return np.sort(np.concatenate(chosen))


def epoch_order(
    seed: int, epoch: int, num_rows: int, num_views: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of the rows in one epoch and the view of each, [N] both; a function of its inputs."""
    rng = np.random.default_rng([_ORDER, seed % 2**63, epoch])
    return rng.permutation(num_rows), rng.integers(num_views, size=num_rows)


def _listed(
    path: Path,
    ids: NDArray[np.int64],
    labels: NDArray[np.int64],
    config: RowsConfig,
    seed: int,
    class_names: Sequence[str],
) -> NDArray[np.int64]:
    """Rows that a CSV file names by their ids, for this seed and these shots where it has both."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
        lines = [line for line in lines if "seed" not in line or int(line["seed"]) == seed]
        known = {int(line["shots"]) for line in lines if "shots" in line}
        if config.shots is not None:
            lines = [line for line in lines if int(line["shots"]) == config.shots]
        wanted = [int(line["id"]) for line in lines]
        classes = {int(line["id"]): int(line["label"]) for line in lines if "label" in line}
    except (OSError, ValueError, KeyError, TypeError) as error:
        also = "" if config.shots is None else " and shots"
        raise DataError(
            f"{config.section}.rows {path} cannot be read ({type(error).__name__}: {error}); give "
            f"a CSV file with the column id{also}, and optionally seed."
        ) from error
    if config.shots is None and len(known) > 1:
        listed = ", ".join(map(str, sorted(known)))
        raise DataError(
            f"{path} lists rows for {listed} shots; set {config.section}.shots to one of them."
        )
    if not wanted:
        shots = "" if config.shots is None else f" and {config.shots} shots"
        raise DataError(
            f"{path} lists no row for seed {seed}{shots}; list at least one, or choose another "
            "seed."
        )
    rows = _positions(wanted, ids, path)
    # Ids are row numbers of the data set: a list of another one, or of an earlier state, has
    # them too.
    other = [row for row in rows if classes.get(int(ids[row]), labels[row]) != labels[row]]
    if other:
        number, names = int(ids[other[0]]), dict(enumerate(class_names))
        given, stored = classes[number], int(labels[other[0]])
        raise DataError(
            f"{path} gives id {number} the label {given} ({names.get(given, 'no class')}) but "
            f"the store gives it {stored} ({names.get(stored, 'no class')}); the list is of "
            "other images, so draw it again."
        )
    return rows


def _positions(wanted: Sequence[int], ids: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    """Rows of some ids, in the order of the store."""
    where: dict[int, Any] = {int(number): row for row, number in enumerate(ids)}
    unknown = [number for number in wanted if number not in where]
    if unknown:
        raise DataError(
            f"{path} lists id {unknown[0]}, which no training row of the store has; list ids of "
            "its training split."
        )
    return np.array(sorted({where[number] for number in wanted}))
