"""Class folders of a user: in one folder, or in one for each split."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ltood.core.errors import DataError
from ltood.core.words import counted
from ltood.datasets._image_folders import class_folders
from ltood.datasets._own_pictures import ALIASES, UNDIVIDED, Found
from ltood.images.files import SUFFIXES, ImageFiles, OnError
from ltood.images.folders import folders_of

#: Folders that are named one by one.
_SHOWN = 5


def read_folders(root: Path, on_error: OnError, outliers: Collection[str]) -> Found:
    """Pictures of class folders.

    Args:
        root: Holds a folder for each class, or one for each split with folders for the classes.
        on_error: What preparing does about files that cannot be decoded.
        outliers: Folders directly below the root that hold outliers, so that they are not classes.

    Raises:
        DataError: If there are no classes, or it cannot be known what the folders are.
    """
    folders = [name for name in folders_of(root) if name not in outliers]
    splits = split_folders(root, folders)
    others = [name for name in folders if name not in splits.values()]
    if not splits:
        return _whole(root, on_error, outliers, folders)
    if "train" not in splits:
        found = ", ".join(splits.values())
        raise DataError(
            f"{root} holds the folders {found}, and there is no folder {root / 'train'}; add one "
            "with the training images, one folder for each class in it."
        )
    if len(splits) == 1 and any(_has_images(root / name) for name in others):
        raise DataError(
            f"{root} holds the folder {splits['train']!r} and others, such as {others[0]!r}: if "
            f"it is a class, keep its images in no folders below {root / splits['train']}; if it "
            "holds the training images, add test, or move the other folders away."
        )
    train, names = class_folders(root / splits["train"], None, on_error)
    notes = _notes(root, splits["train"], names, outliers)
    if others:
        notes += (
            f"folders that are not read: {', '.join(others)} "
            f"(splits: {', '.join(splits.values())}).",
        )
    parts: dict[str, ImageFiles] = {"train": replace(train, notes=train.notes + notes)}
    for split in ("val", "test"):
        if split in splits:
            parts[split] = class_folders(root / splits[split], names, on_error)[0]
    return Found(names, parts)


def split_folders(root: Path, folders: Collection[str]) -> dict[str, str]:
    """Folders that are splits, by the name of the split.

    A folder called as a split that holds images and no folders is a class.

    Raises:
        DataError: If two folders are the same split.
    """
    splits: dict[str, str] = {}
    for name in folders:
        split = ALIASES.get(name.lower())
        if split is None or (_has_images(root / name) and not folders_of(root / name)):
            continue
        if split in splits:
            raise DataError(
                f"{root} holds {splits[split]!r} and {name!r}, which both mean {split}; join them, "
                "or move one away."
            )
        splits[split] = name
    return splits


def _whole(
    root: Path, on_error: OnError, outliers: Collection[str], folders: Collection[str]
) -> Found:
    """One folder for each class, not divided yet."""
    if not folders:
        loose = " Its images lie in no folder, so that their classes are not known." * (
            _has_images(root)
        )
        raise DataError(
            f"{root} holds no folders; put the images of each class into its own, or name a list "
            f"of them in datasets.folder.manifest.{loose}"
        )
    files, names = class_folders(root, None, on_error, leave_out=outliers)
    if len(names) == 1 and (inner := folders_of(root / names[0])):
        raise DataError(
            f"{root} holds one folder, {names[0]!r}, so there is one class; if the "
            f"{len(inner):,} folders in it are the classes, set datasets.folder.root to "
            f"{root / names[0]}."
        )
    notes = _notes(root, "", names, outliers)
    return Found(names, {UNDIVIDED: replace(files, notes=files.notes + notes)})


def _notes(
    root: Path, below: str, names: Collection[str], outliers: Collection[str]
) -> tuple[str, ...]:
    """What is unusual about the classes."""
    notes = []
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.strip().casefold(), name)
        if other != name:
            notes.append(f"the classes {other!r} and {name!r} differ in case or blanks alone.")
    where = root / below if below else root
    with os.scandir(where) as entries:
        loose = sum(entry.name.lower().endswith(SUFFIXES) for entry in entries)
    if loose:
        notes.append(f"{counted(loose, 'image')} in {where.name} itself, in no class: not read.")
    aside = sorted(set(outliers) & set(folders_of(root)))
    if aside and not below:
        more = ", …" if len(aside) > _SHOWN else ""
        notes.append(f"folders of outliers, not classes: {', '.join(aside[:_SHOWN])}{more}.")
    return tuple(notes)


def _has_images(folder: Path) -> bool:
    """Whether image files lie in the folder itself."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(SUFFIXES) for entry in entries)
