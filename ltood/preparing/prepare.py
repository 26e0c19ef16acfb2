"""Datasets to plain arrays, the form in which training and extraction read images.

The layout is that of `ltood/images/prepared.py`. The folder appears in one rename when it is
whole, and equal input gives equal bytes. NumPy only.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltood.core.errors import DataError, StoreError
from ltood.images.arrays import ImageSplit
from ltood.images.decoding import check_files
from ltood.images.files import ImageFiles
from ltood.images.prepared import (
    ARRAYS,
    FILE_ARRAYS,
    MANIFEST,
    PATHS,
    SCHEMA,
    PreparedData,
    array_sha256,
    open_prepared,
    paths_sha256,
)
from ltood.images.sources import ImageDataset
from ltood.preparing.leakage import TrainingImages
from ltood.runtime.console import log, progress
from ltood.runtime.files import building_folder, write_atomically, writing
from ltood.store.layout import ID_SPLITS, check_split_name

__all__ = ["PreparedData", "open_prepared", "prepare"]

_REQUIRED = ("train", "test")


def prepare(dataset: ImageDataset, name: str, settings: Mapping[str, Any], out: Path) -> None:
    """Write all splits of a dataset to the folder `out`, replacing an older one.

    A killed run leaves the older folder or none, never half of one, and beside it at most a
    folder `.<name>.*.tmp` that nothing reads.

    Args:
        dataset: Gives the splits; they are read one after another.
        name: Dataset name for the manifest, such as "demo".
        settings: Dataset settings for the manifest, plain values.
        out: Folder to write.

    Raises:
        DataError: If a split breaks a rule: a name given twice or missing, labels out of
            range, an id twice, another image shape than the rest, a class without training
            images.
        StoreError: If a split name is malformed, or `out` holds something else than prepared
            data or cannot be written.
    """
    names = _checked_splits(name, dataset)
    if out.exists() and not _is_ours(out):
        raise StoreError(
            f"{out} exists and holds no prepared data; move it away or choose another folder."
        )
    with building_folder(out) as building:
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "dataset": name,
            "settings": dict(sorted(settings.items())),
            "class_names": list(dataset.class_names),
        }
        manifest |= _write_splits(dataset, name, names, building)
        text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
        write_atomically(building / MANIFEST, text.encode())


def _is_ours(out: Path) -> bool:
    """Whether `out` is prepared data or an empty folder, which may be replaced."""
    return out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))


def _checked_splits(name: str, dataset: ImageDataset) -> tuple[str, ...]:
    """Split names, known to be complete, distinct and well-formed."""
    names = dataset.splits()
    for kind, values in (("class", dataset.class_names), ("split", names)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise DataError(f"{name} names the {kind} {twice[0]!r} twice; give each its own name.")
    for split in names:
        check_split_name(split)
    for split in _REQUIRED:
        if split not in names:
            raise DataError(f"{name} has no split {split!r}; add it, train and test are needed.")
    return names


def _write_splits(
    dataset: ImageDataset, name: str, names: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write the arrays of every split; returns `class_counts` and `splits`."""
    entries: dict[str, Any] = {}
    class_counts: list[int] = []
    shape: list[int] = []
    shown = ""
    train: TrainingImages | None = None
    with progress(f"prepare {name}", len(names), "splits") as advance:
        for split_name in names:
            split = dataset.split(split_name)
            if isinstance(split, ImageFiles):
                split, skipped = _checked_files(split_name, split)
            else:
                skipped = ()
                found = list(split.images.shape[1:])
                shape, shown = shape or found, shown or split_name
                if found != shape:
                    raise DataError(
                        f"images of {split_name} have the shape {found}, those of {shown} {shape}; "
                        "bring all splits to one [H, W, C]."
                    )
            _check_rows(split_name, split, len(dataset.class_names))
            if split_name == "train":
                class_counts = _class_counts(split, dataset.class_names)
                train = TrainingImages(split)
            elif train is not None and (repeats := train.repeats(split)):
                log(
                    f"{split_name}: {repeats:,} of {len(split):,} images are training images too, "
                    "byte for byte; results on them say nothing about new ones."
                )
            entry = _write_split(split, folder / split_name)
            entries[split_name] = {**entry, "skipped": list(skipped)} if skipped else entry
            advance(1)
    return {"class_counts": class_counts, "splits": entries}


def _checked_files(name: str, files: ImageFiles) -> tuple[ImageFiles, tuple[str, ...]]:
    """Readable pictures of a split with their checksums, and what was wrong with the others."""
    try:
        checked = check_files(files)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    checked.report(name)
    return checked.files, checked.faults


def _check_rows(name: str, split: ImageSplit | ImageFiles, num_classes: int) -> None:
    """Refuse labels outside the classes and ids that occur twice."""
    # Rows of an OOD set may show an ID class: SC-OOD benchmarks mark such rows.
    lowest = 0 if name in ID_SPLITS else -1
    bad = (split.labels < lowest) | (split.labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{name}: the label of row {row} is {split.labels[row]}; it must lie in {lowest} to "
            f"{num_classes - 1}. Correct it or leave the row out."
        )
    order = np.argsort(split.ids, kind="stable")
    repeats = order[1:][np.diff(split.ids[order]) == 0]
    if len(repeats):
        row = int(repeats.min())
        raise DataError(
            f"{name}: row {row} repeats the id {split.ids[row]}; each id names one row of the "
            "source. Leave the repeat out."
        )


def _class_counts(train: ImageSplit | ImageFiles, class_names: Sequence[str]) -> list[int]:
    """Training images of each class, none without."""
    counts: list[int] = np.bincount(train.labels, minlength=len(class_names)).tolist()
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"no training images of the class {', '.join(empty[:10])}; its prior would be 0. "
            "Raise the imbalance ratio, add images or drop the class."
        )
    return counts


def _write_split(split: ImageSplit | ImageFiles, folder: Path) -> dict[str, Any]:
    """Write the arrays of one split, flushed to disk; returns its manifest entry."""
    folder.mkdir()
    entry: dict[str, Any] = {"rows": len(split)}
    if isinstance(split, ImageFiles):
        entry["root"] = str(split.root)
        entry["paths_sha256"] = paths_sha256(split.paths)
        write_atomically(folder / PATHS, ("\n".join(split.paths) + "\n").encode())
    else:
        entry["shape"] = list(split.images.shape[1:])
    for key in FILE_ARRAYS if isinstance(split, ImageFiles) else ARRAYS:
        values = np.ascontiguousarray(getattr(split, key))
        with writing(folder / f"{key}.npy") as file:
            np.save(file, values, allow_pickle=False)
        entry[f"{key}_sha256"] = array_sha256(values)
    return entry
