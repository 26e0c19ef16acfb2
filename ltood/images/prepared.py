"""Prepared images: the plain arrays that training and extraction read.

    prepared/manifest.json        dataset, settings, classes, rows and checksums
    prepared/<split>/images.npy   [N, H, W, C] uint8
    prepared/<split>/labels.npy   [N] int64
    prepared/<split>/ids.npy      [N] int64

A split whose pictures stay on disk has, in the place of images.npy:

    prepared/<split>/paths.txt       one path a line, relative to the root in the manifest
    prepared/<split>/checksums.npy   CRC-32 of each file, [N] int64

`ltood/preparing/prepare.py` writes them. The arrays are uncompressed and mapped into memory, so
opening costs no more than the labels. NumPy only.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, DataError, StoreError
from ltood.images.arrays import ImageSplit
from ltood.runtime.console import progress

if TYPE_CHECKING:
    from ltood.images.files import ImageFiles

SCHEMA = 1
MANIFEST = "manifest.json"
#: Arrays of a split; each is one .npy file.
ARRAYS = ("images", "labels", "ids")
#: Likewise of a split whose pictures stay on disk.
FILE_ARRAYS = ("labels", "ids", "checksums")
PATHS = "paths.txt"

_RERUN = "run the prepare stage again"


@dataclass(frozen=True)
class PreparedData:
    """Prepared images on disk, mapped into memory read-only.

    Attributes:
        path: The folder.
        manifest: Content of manifest.json: `dataset`, `settings`, `class_names`,
            `class_counts` (of the training split) and, by name, `splits` with `rows`, `shape`
            [H, W, C] and the SHA-256 of each array; `root` in the place of `shape` where
            pictures stay on disk.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, [C]."""
        return tuple(self.manifest["class_names"])

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images of each class, [C]."""
        return np.array(self.manifest["class_counts"], dtype=np.int64)

    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""
        return tuple(self.manifest["splits"])

    def split(self, name: str) -> ImageSplit:
        """Arrays of one split, read-only; pages of the images are loaded when touched.

        Raises:
            StoreError: If there is no such split.
            CorruptStoreError: If a file is missing or does not fit the manifest.
            DataError: If the pictures of the split stay on disk.
        """
        found = self.source(name)
        if isinstance(found, ImageSplit):
            return found
        dataset = self.manifest["dataset"]
        raise DataError(
            f"the pictures of {name} are files of many sizes, and arrays of one size are needed "
            f"here; set datasets.{dataset}.size, or choose a backbone that brings pictures to a "
            "size of its own (resnet50, clip)."
        )

    def source(self, name: str) -> "ImageSplit | ImageFiles":
        """Arrays or picture files of one split.

        Raises:
            StoreError: If there is no such split.
            CorruptStoreError: If a file is missing or does not fit the manifest.
        """
        if name not in self.manifest["splits"]:
            known = ", ".join(self.splits())
            raise StoreError(f"{self.path} has no split {name!r}; it has {known}.")
        entry = self.manifest["splits"][name]
        rows, folder = entry["rows"], self.path / name
        labels = _mapped(folder / "labels.npy", "int64", (rows,))
        ids = _mapped(folder / "ids.npy", "int64", (rows,))
        try:
            if "root" in entry:
                paths = _paths(folder / PATHS, rows)
                checksums = _mapped(folder / "checksums.npy", "int64", (rows,))
                from ltood.images.files import ImageFiles

                return ImageFiles(Path(entry["root"]), paths, labels, ids, checksums)
            images = _mapped(folder / "images.npy", "uint8", (rows, *entry["shape"]))
            return ImageSplit(images, labels, ids)
        except DataError as error:
            raise CorruptStoreError(f"{folder} was changed: {error} {_sentence(_RERUN)}") from error

    def verify(self) -> None:
        """Read every array and compare its SHA-256 with the manifest.

        Raises:
            CorruptStoreError: If a file is missing or its content was changed.
        """
        with progress(f"verify {self.path.name}", len(self.splits()), "splits") as advance:
            for name in self.splits():
                split, entry = self.source(name), self.manifest["splits"][name]
                for key in ARRAYS if isinstance(split, ImageSplit) else FILE_ARRAYS:
                    if array_sha256(getattr(split, key)) != entry[f"{key}_sha256"]:
                        raise CorruptStoreError(
                            f"{self.path / name / key}.npy was changed after it was prepared "
                            f"(its SHA-256 differs from the manifest); {_RERUN}."
                        )
                if not isinstance(split, ImageSplit):
                    self._verify_paths(name, split)
                advance(1)

    def _verify_paths(self, name: str, files: "ImageFiles") -> None:
        if paths_sha256(files.paths) != self.manifest["splits"][name]["paths_sha256"]:
            raise CorruptStoreError(
                f"{self.path / name / PATHS} was changed after it was prepared (its SHA-256 "
                f"differs from the manifest); {_RERUN}."
            )


def open_prepared(path: Path) -> PreparedData:
    """Open a folder of prepared images and check every file against its manifest.

    Shapes, types and file sizes are compared; `PreparedData.verify` also hashes the content.

    Raises:
        StoreError: If there is no prepared data, or another version wrote it.
        CorruptStoreError: If the manifest is unreadable or a file does not fit it.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise StoreError(f"{path} holds no prepared data ({MANIFEST}); run the prepare stage.")
    try:
        manifest = json.loads(file.read_bytes())
        schema = manifest["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{file} is no manifest of prepared data; {_RERUN}.") from error
    if schema != SCHEMA:
        raise StoreError(
            f"{path} was prepared with schema {schema}, this version reads {SCHEMA}; {_RERUN}."
        )
    prepared = PreparedData(path, manifest)
    try:
        for key in ("dataset", "settings", "class_names", "class_counts"):
            manifest[key]
        for name in prepared.splits():
            prepared.source(name)
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(f"{file} lacks an entry ({error}); {_RERUN}.") from error
    return prepared


def array_sha256(values: NDArray[Any]) -> str:
    """Hash the bytes of an array, its rows in order, as hexadecimal digits."""
    rows: Any = np.ascontiguousarray(values)
    return hashlib.sha256(memoryview(rows).cast("B")).hexdigest()


def paths_sha256(paths: Sequence[str]) -> str:
    """Hash a list of paths, in order, as hexadecimal digits."""
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()


def _paths(path: Path, rows: int) -> tuple[str, ...]:
    """Paths of the pictures, one a line."""
    try:
        paths = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptStoreError(f"{path} cannot be read ({error}); {_RERUN}.") from error
    if len(paths) != rows:
        raise CorruptStoreError(
            f"{path} lists {len(paths)} pictures, the manifest says {rows}; {_RERUN}."
        )
    return paths


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map one array read-only and compare it with what the manifest says."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
        trailing = path.stat().st_size - mapped.offset - mapped.nbytes
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise CorruptStoreError(f"{path} cannot be read ({reason}); {_RERUN}.") from error
    if mapped.dtype != dtype or mapped.shape != shape or trailing:
        raise CorruptStoreError(
            f"{path} holds {mapped.dtype} of shape {list(mapped.shape)} and {trailing} bytes more; "
            f"the manifest says {dtype} of shape {list(shape)}. {_sentence(_RERUN)}"
        )
    return np.asarray(mapped)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
