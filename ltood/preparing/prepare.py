"""Datasets to plain arrays, the form in which training and extraction read images.

The layout is that of `ltood/images/prepared.py`. The folder appears in one rename when it is
whole, and equal input gives equal bytes. NumPy only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit
from ltood.images.checking import UndecodableError, check_files
from ltood.images.files import ImageFiles
from ltood.images.prepared import SCHEMA, SUMMARY
from ltood.images.sources import PLACES, ImageDataset, ImageSource
from ltood.preparing.leakage import KnownImages
from ltood.preparing.summary import Repeats, Summary
from ltood.preparing.writing import replacing, write_manifest, write_split
from ltood.runtime.console import log, progress
from ltood.runtime.file_hashes import FileHashes
from ltood.runtime.files import to_json_bytes, write_atomically
from ltood.store.layout import check_split_name, is_id_split

_REQUIRED = ("train", "test")
#: What follows if another split shows images of these.
_CONSEQUENCE = {
    "train": "results on them say nothing about new ones.",
    "val": "the threshold is set by them.",
    "test": "they count on both sides.",
}
#: Splits whose images have classes, of which the summary counts the images.
_COUNTED = ("train", "val", "test")
#: Repeats that are named one by one.
_EXAMPLES = 3


def prepare(
    dataset: ImageDataset,
    name: str,
    settings: Mapping[str, Any],
    out: Path,
    hashes: Path | None = None,
) -> None:
    """Write all splits of a dataset to the folder `out`, replacing an older one.

    A killed run leaves the older folder or none, never half of one, and next to it at most a
    folder `.<name>.*.tmp`, which the next run removes.

    Args:
        dataset: Gives the splits; they are read one after another.
        name: Dataset name for the manifest, such as "demo".
        settings: Dataset settings for the manifest, plain values without places.
        out: Folder to write.
        hashes: Database of what is known about files, so that image files that were decoded
            before are not read again; None reads all of them.

    Raises:
        DataError: If a split breaks a rule: a name given twice or missing, labels out of
            range, an id twice, another image shape than the rest, a class without training
            images.
        StoreError: If a split name is malformed, or `out` holds something else than prepared
            data or cannot be written.
    """
    names = _checked_splits(name, dataset)
    with replacing(out) as building:
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "dataset": name,
            # Equal images give equal bytes wherever they lie, so that what follows need not rerun.
            "settings": {key: settings[key] for key in sorted(settings) if key not in PLACES},
            "class_names": list(dataset.class_names),
        }
        found, summary = _write_splits(dataset, name, names, building, hashes)
        manifest |= found
        summary = replace(summary, settings=tuple(sorted(settings)))
        write_manifest(manifest, building)
        write_atomically(building / SUMMARY, to_json_bytes(summary.plain()), sweep=False)
    for line in summary.lines():
        log(line)


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
            raise DataError(f"{name} has no split {split!r}; add it; train and test are required.")
    return names


def _write_splits(
    dataset: ImageDataset, name: str, names: Sequence[str], folder: Path, hashes: Path | None
) -> tuple[dict[str, Any], Summary]:
    """Write the arrays of every split; gives `class_counts` and `splits`, and what was found."""
    remembered = None if hashes is None else FileHashes(hashes)
    class_names = dataset.class_names
    entries: dict[str, Any] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    skipped: dict[str, tuple[str, ...]] = {}
    repeats: list[Repeats] = []
    shapes: dict[str, tuple[int, int, int]] = {}
    known: dict[str, tuple[KnownImages, ImageSource]] = {}
    with progress(f"prepare {name}", len(names), "splits") as advance:
        for split_name in names:
            split = _read(dataset, name, split_name, remembered)
            _check_shape(split_name, split, shapes)
            _check_rows(split_name, split, len(class_names))
            if split_name in _COUNTED:
                counts[split_name] = np.bincount(split.labels, minlength=len(class_names))
            if split_name == "train":
                _refuse_empty(counts["train"], class_names)
            images = KnownImages(split)
            repeats += _repeats(split_name, split, images, known)
            if split_name in _CONSEQUENCE:
                known[split_name] = images, split
            if found := getattr(split, "notes", ()):
                notes[split_name] = found
            if split.skipped:
                skipped[split_name] = split.skipped
            entries[split_name] = write_split(split, folder / split_name)
            advance(1)
    rows = {key: entry["rows"] for key, entry in entries.items()}
    summary = Summary(
        name, class_names, counts, rows, repeats=repeats, skipped=skipped, notes=notes
    )
    return {"class_counts": counts["train"].tolist(), "splits": entries}, summary


def _check_shape(name: str, split: ImageSource, shapes: dict[str, tuple[int, int, int]]) -> None:
    """Refuse a split whose images have another shape than those before."""
    if split.shape is None:
        return
    for other, shape in shapes.items():
        if split.shape != shape:
            raise DataError(
                f"images of {name} have the shape {list(split.shape)}, those of {other} "
                f"{list(shape)}; bring all splits to one [H, W, C]."
            )
    shapes[name] = split.shape


def _repeats(
    name: str,
    split: ImageSource,
    images: KnownImages,
    known: Mapping[str, tuple[KnownImages, ImageSource]],
) -> Iterator[Repeats]:
    """Images of a split that earlier ones have too; they are logged."""
    for other, (earlier, source) in known.items():
        if num := earlier.repeated_by(images):
            pairs = tuple(
                (_called(split, row), _called(source, like))
                for row, like in earlier.examples(images, _EXAMPLES)
            )
            log(
                f"{name}: {num:,} of {len(split):,} images are images of {other} too, byte for "
                f"byte, such as {pairs[0][0]} = {pairs[0][1]}; {_CONSEQUENCE[other]}"
            )
            yield Repeats(name, other, num, pairs)


def _called(split: ImageSource, row: int) -> str:
    """Name of an image: its path, or the number of its row."""
    return split.paths[row] if split.paths else f"row {row}"


def _read(
    dataset: ImageDataset, name: str, split_name: str, known: FileHashes | None
) -> ImageSplit | ImageFiles:
    """Images of one split without those that may be left out."""
    try:
        return _checked(split_name, dataset.split(split_name), known)
    except UndecodableError as error:
        raise DataError(
            f"{split_name}: {error} To leave such files out, set datasets.{name}.on_error to skip."
        ) from error


def _checked(
    name: str, split: ImageSplit | ImageFiles, known: FileHashes | None
) -> ImageSplit | ImageFiles:
    """The split without images that cannot be decoded."""
    if isinstance(split, ImageSplit):
        return split
    try:
        checked = check_files(split, known=known)
    except UndecodableError:
        raise
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    checked.report(name)
    return checked.files


def _check_rows(name: str, split: ImageSource, num_classes: int) -> None:
    """Refuse labels outside the classes and ids that occur twice."""
    # Rows of an OOD set may show an ID class: SC-OOD benchmarks mark such rows.
    lowest = 0 if is_id_split(name) else -1
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


def _refuse_empty(counts: NDArray[np.int64], class_names: Sequence[str]) -> None:
    """Refuse classes without training images."""
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        why = (
            "Labels count from 0, and the lowest here is 1: subtract 1 from all labels."
            if counts[0] == 0 and all(counts[1:])
            else "Raise the imbalance ratio, add images or drop the class."
        )
        raise DataError(
            f"no training images of {len(empty):,} of {len(counts):,} classes "
            f"({', '.join(empty[:10])}), so that their prior would be 0. {why}"
        )
