"""Known image sets: what they hold, where they come from, where they are looked for.

The facts are in `catalogue.toml` in this folder. The folder of a set is `data/sets/<name>`
unless another root is given. Standard library only.
"""

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ltood.core.errors import UnknownNameError
from ltood.sets.downloads import Source

#: Where known sets lie.
SETS = Path("data/sets")

Form = Literal["images", "records", "lines", "file"]


@dataclass(frozen=True)
class Offer:
    """A file that is offered for download.

    Attributes:
        source: The file.
        unpack: Whether it is an archive, opened in the folder of the set and then removed.
    """

    source: Source
    unpack: bool


@dataclass(frozen=True)
class Part:
    """Something in the folder of a set that can be read.

    Attributes:
        path: File or folder below that of the set.
        rows: Images or lines that it must hold; None where no figure is published.
        form: "images" as OOD sets are read, "records" of CIFAR, "lines" of a list, or any other
            "file", such as weights.
        image_root: Folder of a list's images, below that of the set; "" looks near the list.
        sha256: Digest of a file; "" where none is known.
    """

    path: str
    rows: int | None = None
    form: Form = "images"
    image_root: str = ""
    sha256: str = ""

    def source(self, folder: Path) -> str:
        """The part as the settings `ood` and `aux` take it.

        Args:
            folder: Folder of the set.
        """
        return f"{folder / self.path}" + (f"@{folder / self.image_root}" if self.image_root else "")


@dataclass(frozen=True)
class KnownSet:
    """One known image set.

    Attributes:
        name: What commands and settings call it.
        folder: Name of its folder; another set's where both belong together.
        title: What it is called.
        content: Number and kind of its images.
        licence: What its authors allow, as far as they say.
        page: Where to read about it.
        papers: Which published systems use it, and how.
        layout: What its folder holds.
        files: What is downloaded; none where it must be fetched by hand or is made.
        parts: What can be read.
        made_by: Name of the rule that makes it without a download; "" for none.
    """

    name: str
    folder: str
    title: str
    content: str
    licence: str
    page: str
    papers: tuple[str, ...]
    layout: tuple[str, ...]
    files: tuple[Offer, ...]
    parts: tuple[Part, ...]
    made_by: str

    @property
    def origin(self) -> str:
        """How to obtain it: "download", "made" or "by hand"."""
        if self.made_by:
            return "made"
        return "download" if self.files else "by hand"

    def is_there(self, root: Path) -> bool:
        """Whether any of its files, complete or not, is readable below the folder of all sets."""
        return any((root / self.folder / part.path).exists() for part in self.parts)


@functools.cache
def known_sets() -> Mapping[str, KnownSet]:
    """All known sets by name, in the order of the catalogue."""
    content = Path(__file__).with_suffix(".toml").read_bytes().decode()
    return {name: _known_set(name, entry) for name, entry in tomllib.loads(content).items()}


def known_set(name: str) -> KnownSet:
    """One known set.

    Raises:
        UnknownNameError: With the nearest names and the full list.
    """
    sets = known_sets()
    if name not in sets:
        near = difflib.get_close_matches(name, sets, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownNameError(f"No known set {name!r}.{hint} Known: {', '.join(sets)}.")
    return sets[name]


def _known_set(name: str, entry: dict[str, Any]) -> KnownSet:
    page = entry["page"]
    offers = (
        Offer(
            Source(file["file"], file["address"], file.get("checksum", ""), page),
            file.get("unpack", False),
        )
        for file in entry.get("files", [])
    )
    return KnownSet(
        name=name,
        folder=entry.get("folder", name),
        title=entry["title"],
        content=entry["content"],
        licence=entry["licence"],
        page=page,
        papers=tuple(entry["papers"]),
        layout=tuple(entry["layout"]),
        files=tuple(offers),
        parts=tuple(Part(**part) for part in entry["parts"]),
        made_by=entry.get("made_by", ""),
    )
