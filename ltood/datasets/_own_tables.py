"""Folders of the library `datasets`: what it saves, repositories of its hub, image folders.

    dataset_dict.json, <split>/state.json, <split>/data-*.arrow    `DatasetDict.save_to_disk`
    state.json, data-*.arrow                                       `Dataset.save_to_disk`
    data/train-00000-of-00002.parquet                              a repository of the hub
    metadata.csv (.jsonl, .parquet) beside images                  an image folder with labels

Nothing in them is run: scripts that a repository may hold are not looked at.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ltood.core.errors import DataError, quoted
from ltood.datasets._own_pictures import ALIASES, UNDIVIDED, Found
from ltood.images.arrow_images import ImageTable, columns_of, image_column, read_schema
from ltood.images.files import SUFFIXES, OnError
from ltood.images.folders import folders_of
from ltood.images.packed import PackedFiles
from ltood.runtime.extras import is_there
from ltood.runtime.files import read_json

_DICTIONARY, _STATE = "dataset_dict.json", "state.json"
_REMEDY = "save the dataset again with `save_to_disk`"
_WORD = re.compile(r"[A-Za-z]+")


def saved_shards(root: Path) -> dict[str, list[str]] | None:
    """Arrow files by split, of a folder that `save_to_disk` wrote; None for other folders.

    Raises:
        DataError: If its description is unusable.
    """
    if (root / _STATE).is_file():
        return {UNDIVIDED: _state_files(root, "")}
    if not (root / _DICTIONARY).is_file():
        return None
    described = _described(root / _DICTIONARY)
    names = described.get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{root / _DICTIONARY} lists no splits; {_REMEDY}.")
    found: dict[str, list[str]] = {}
    for name in names:
        split = ALIASES.get(name.lower())
        if split is not None:
            found.setdefault(split, []).extend(_state_files(root, name))
    if "train" not in found:
        raise DataError(
            f"{root} holds the splits {quoted(names)}, and none of them is train; rename the one "
            "to learn from."
        )
    return found


def parquet_shards(root: Path) -> dict[str, list[str]] | None:
    """Parquet files with images by split, as the hub names them; None if there are none.

    Raises:
        DataError: If they belong to several datasets, or a name stands for several splits.
    """
    if not is_there("pyarrow"):
        return None
    files = [
        name for name in _parquet_files(root) if image_column(read_schema(root / name)) is not None
    ]
    if not files:
        return None
    found: dict[str, list[str]] = {}
    configs = set()
    for name in sorted(files):
        parts = PurePosixPath(name).parts
        words = {word.lower() for word in _WORD.findall(parts[-1].removesuffix(".parquet"))}
        splits = {ALIASES[word] for word in words & ALIASES.keys()}
        splits = splits or {ALIASES[part.lower()] for part in parts if part.lower() in ALIASES}
        if len(splits) > 1:
            raise DataError(
                f"{root / name} names several splits ({', '.join(sorted(splits))}); rename it, "
                "such as train-0.parquet."
            )
        configs.add(tuple(part for part in parts[:-1] if part.lower() not in {*ALIASES, "data"}))
        found.setdefault(next(iter(splits), UNDIVIDED), []).append(name)
    if len(configs) > 1:
        shown = ", ".join("/".join(parts) or "." for parts in sorted(configs)[:5])
        raise DataError(
            f"{root} holds several datasets ({shown}); set datasets.folder.root to the folder of "
            "one."
        )
    if len(found) > 1 and UNDIVIDED in found:
        raise DataError(
            f"{root / found[UNDIVIDED][0]} is in no split, and others are; rename it, such as "
            "train-1.parquet, or move it away."
        )
    return found


def read_shards(
    root: Path, shards: Mapping[str, Sequence[str]], on_error: OnError, label_column: str | None
) -> Found:
    """Images of Arrow or Parquet files.

    Args:
        root: Folder that the paths of the files start from.
        shards: The files by split.
        on_error: What preparing does about images that cannot be decoded.
        label_column: Column of the class; None looks for it.

    Raises:
        DataError: If they are unreadable, differ in their columns, or a row has no class.
    """
    paths = [root / name for names in shards.values() for name in names]
    columns = columns_of(paths[0], label_column)
    for path in paths[1:]:
        if (other := columns_of(path, label_column)) != columns:
            raise DataError(
                f"{path} has other columns or class names than {paths[0]} (image "
                f"{other.image!r}, class {other.label!r}); keep files of one dataset together."
            )
    tables = {
        split: ImageTable([root / name for name in names], columns)
        for split, names in shards.items()
    }
    rows = {split: list(table.rows()) for split, table in tables.items()}
    used = {label for listed in rows.values() for label, _ in listed}
    names = _class_names(columns.names, used)
    numbers = {name: number for number, name in enumerate(names)}
    parts = {}
    for split, listed in rows.items():
        if listed:
            labels = np.array([numbers[label] for label, _ in listed], dtype=np.int64)
            places = np.arange(len(listed))
            parts[split] = PackedFiles(
                root,
                _image_names(listed),
                labels,
                places,
                on_error=on_error,
                pack=tables[split],
                places=places,
                shards=tuple(shards[split]),
            )
    if not parts:
        raise DataError(f"{root} holds no rows; name another folder in datasets.folder.root.")
    return Found(names, parts)


def _class_names(declared: Sequence[str] | None, used: set[str]) -> tuple[str, ...]:
    """Names of the classes that have images: in the order declared, by number, or sorted."""
    if declared is not None:
        return tuple(name for name in dict.fromkeys(declared) if name in used)
    if all(name.isdecimal() for name in used):
        return tuple(sorted(used, key=int))
    return tuple(sorted(used))


def _image_names(rows: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A name for each image, as if it lay in the folder of its class."""
    names, seen = [], set()
    for number, (label, path) in enumerate(rows):
        own = PurePosixPath(path.replace("\\", "/")).name.replace("\n", " ") or f"{number:06d}"
        name = f"{label}/{own}".replace("\n", " ")
        if name in seen:
            name = f"{name}#{number}"
        seen.add(name)
        names.append(name)
    return tuple(names)


def _state_files(root: Path, below: str) -> list[str]:
    """Arrow files that a state.json names, from the root on."""
    where = root / below / _STATE if below else root / _STATE
    state = _described(where)
    listed = state.get("_data_files")
    names = [
        item.get("filename") if isinstance(item, dict) else None
        for item in (listed if isinstance(listed, list) else [None])
    ]
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(f"{where} selects rows of other files; {_REMEDY} after flatten_indices().")
    for name in names:
        if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
            raise DataError(f"{where} names the file {quoted(name)}; {_REMEDY}.")
    return [f"{below}/{name}" if below else str(name) for name in names]


def _described(where: Path) -> Mapping[str, object]:
    found = read_json(where, _REMEDY)
    if not isinstance(found, dict):
        raise DataError(f"{where} is not a JSON object; {_REMEDY}.")
    return found


def _parquet_files(root: Path) -> list[str]:
    """Parquet files in a folder and two levels of folders in it; image folders are left soon."""
    found = _parquet_in(root, "")
    for outer in folders_of(root):
        found += _parquet_in(root / outer, f"{outer}/")
        if found or outer.lower() in {*ALIASES, "data"}:
            for inner in folders_of(root / outer):
                found += _parquet_in(root / outer / inner, f"{outer}/{inner}/")
    return found


def _parquet_in(folder: Path, below: str) -> list[str]:
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if ending in SUFFIXES and below:
                break  # A folder of images.
            is_table = ending == ".parquet" and entry.name[0] not in "._"
            if is_table and not entry.name.startswith("metadata.") and entry.is_file():
                names.append(f"{below}{entry.name}")
    return names
