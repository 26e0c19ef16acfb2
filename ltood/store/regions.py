"""A sheet of images with their irrelevant regions, kept for the report.

    regions/regions.json   what is shown, of which features; checksum
    regions/regions.png    the sheet

Where there is nothing to show, `regions.json` says why and is all there is. The folder appears in
one rename; neither writing nor reading needs the images or a package that opens them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError
from ltood.runtime.files import read_regular, write_folder
from ltood.store.chunks import checksum
from ltood.store.documents import read_sealed, sealed_json

SCHEMA = 2
DOCUMENT = "regions.json"
SHEET = "regions.png"
_RERUN = "run the visualise stage again"


@dataclass(frozen=True)
class RegionSheet:
    """Images of one split and the patches that do not show their class.

    Attributes:
        features_fingerprint: Fingerprint of the features, seen through the head in use.
        split: Name of the split.
        rows: Row numbers, in the order of the sheet.
        class_names: Class whose regions are shown, for each row.
        shares: Share of irrelevant patches of each row, 0 to 1.
        topk: A patch is irrelevant if its class is not among its K likeliest classes.
        num_classes: Number of classes C.
        png: The sheet as a PNG file.
    """

    features_fingerprint: str
    split: str
    rows: tuple[int, ...]
    class_names: tuple[str, ...]
    shares: tuple[float, ...]
    topk: int
    num_classes: int
    png: bytes


def write_regions(folder: Path, sheet: RegionSheet | str) -> None:
    """Write a sheet, or the reason why there is none, to `folder` in one rename.

    Args:
        folder: Folder to write; what was there is replaced.
        sheet: The sheet, or a sentence.

    Raises:
        StoreError: If it cannot be written.
    """
    content: dict[str, Any] = {"schema": SCHEMA}
    files: dict[str, bytes] = {}
    if isinstance(sheet, str):
        content["absent"] = sheet
    else:
        shown = {field.name: getattr(sheet, field.name) for field in fields(sheet)}
        files[SHEET] = shown.pop("png")
        content |= {**shown, "crc32c": checksum(files[SHEET])}
    write_folder(folder, {**files, DOCUMENT: sealed_json(content)})


def read_regions(folder: Path) -> RegionSheet | None:
    """Read what `write_regions` wrote; None where there is nothing to show.

    Raises:
        StoreError: If it is missing or another version wrote it.
        CorruptStoreError: If it is unreadable or changed.
    """
    content = read_sealed(folder / DOCUMENT, SCHEMA, _RERUN)
    try:
        return None if "absent" in content else _sheet(folder, content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{folder} is unreadable ({type(error).__name__}: {error}); {_RERUN}."
        ) from None


def _sheet(folder: Path, content: Mapping[str, Any]) -> RegionSheet:
    """The sheet with its checked image."""
    png = read_regular(folder / SHEET)
    if checksum(png) != content["crc32c"]:
        raise CorruptStoreError(f"{folder / SHEET} changed after it was written; {_RERUN}.")
    held = {field.name: content[field.name] for field in fields(RegionSheet) if field.name != "png"}
    for name in ("rows", "class_names", "shares"):
        held[name] = tuple(held[name])
    return RegionSheet(**held, png=png)
