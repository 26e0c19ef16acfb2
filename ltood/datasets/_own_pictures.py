"""Pictures of a user as a folder or list has them, and their division into splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ltood.images.files import ImageFiles
from ltood.images.sources import WatchedFiles
from ltood.images.split_files import divided
from ltood.images.splitting import SPLITS, Rule
from ltood.runtime.workspace import below_workspace, locate

#: Key of pictures that come without a split.
UNDIVIDED = ""
#: Names of splits that people use, in lower case.
ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
#: Folder of the files that remember divisions.
DIVISIONS = Path("data/splits")


@dataclass(frozen=True)
class Found:
    """Pictures as they were found.

    Attributes:
        class_names: Names of the classes, [C], in label order.
        parts: Pictures by split; those under `UNDIVIDED` have none yet.
        tables: Files that were read to know this, by a name.
    """

    class_names: tuple[str, ...]
    parts: Mapping[str, ImageFiles]
    tables: Mapping[str, WatchedFiles] = field(default_factory=dict)


@dataclass(frozen=True)
class Division:
    """How pictures without a split are divided.

    Attributes:
        rule: Shares and seed.
        val_share: Share of the training pictures that becomes val where there is train and test
            alone; None cuts nothing.
        file: File that remembers; None takes one named after the folder and the rule.
        root: Folder of the pictures.
    """

    rule: Rule
    val_share: float | None
    file: str | None
    root: Path

    def where(self, rule: Rule) -> Path:
        """File that remembers a division by `rule`."""
        if self.file is not None:
            return locate(self.file)
        name = self.root.absolute().resolve().name or "root"
        return locate(DIVISIONS / f"{name}_{rule.describe()}.csv")

    def cut(self, given: frozenset[str]) -> Rule | None:
        """Rule that takes missing splits from the training pictures, if any is to be taken."""
        shares = dict(zip(SPLITS, self.rule.shares, strict=True))
        if "test" not in given:
            missing = {name: 0.0 if name in given else shares[name] for name in SPLITS[1:]}
            whole = shares["train"] + sum(missing.values())
            val, test = (missing[name] / whole for name in SPLITS[1:])
        elif "val" not in given and self.val_share is not None:
            val, test = self.val_share, 0.0
        else:
            return None
        return replace(self.rule, shares=(1 - val - test, val, test))


def split_up(found: Found, division: Division) -> tuple[dict[str, ImageFiles], Path | None]:
    """Pictures of every split, in the order of `SPLITS`, and the file that remembers a division.

    Pictures without a split are divided. Where all have one, missing splits are taken from train.

    Args:
        found: The pictures.
        division: How they are divided.

    Raises:
        DataError: If a picture cannot be read, or the file that remembers is unusable.
        StoreError: If that file cannot be written.
    """
    given = frozenset(found.parts) - {UNDIVIDED}
    if UNDIVIDED in found.parts:
        key, rule = UNDIVIDED, division.rule
    else:
        cut = division.cut(given) if "train" in given else None
        if cut is None:
            return {name: found.parts[name] for name in SPLITS if name in given}, None
        key, rule = "train", cut
    whole = found.parts[key]
    where = division.where(rule)
    below = _below(whole.root, division.root)
    numbers = divided(whole, found.class_names, rule, where, below)
    parts = {name: part for name, part in found.parts.items() if name != key}
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero(numbers == number)
        if len(rows):
            chosen = whole.take(rows)
            if name != "train":  # Remarks on all of them are made once.
                chosen = replace(chosen, notes=())
            parts[name] = _joined(parts[name], chosen) if name in parts else chosen
    ordered = [name for name in SPLITS if name in parts]
    note = f"divided by {below_workspace(where)}, which may be edited."
    if "train" in parts:
        parts["train"] = replace(parts["train"], notes=(*parts["train"].notes, note))
    return {name: replace(parts[name], ids=np.arange(len(parts[name]))) for name in ordered}, where


def _joined(first: ImageFiles, second: ImageFiles) -> ImageFiles:
    """Rows of two parts of one list."""
    labels = np.concatenate([first.labels, second.labels])
    ids = np.concatenate([first.ids, second.ids])
    return replace(first, paths=first.paths + second.paths, labels=labels, ids=ids)


def _below(folder: Path, root: Path) -> str:
    """What leads from the root to a folder in it, before a path; "" for the root itself."""
    if folder == root or not folder.is_relative_to(root):
        return ""
    return f"{folder.relative_to(root).as_posix()}/"
