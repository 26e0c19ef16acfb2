"""Prepared images: the plain arrays that training and extraction read.

    prepared/manifest.json        dataset, settings, classes, rows and digests
    prepared/training.json        what training sees of it, and nothing else
    prepared/summary.json         classes, repeats, unreadable files, what is missing; for people
    prepared/<split>/images.npy   [N, H, W, C] uint8
    prepared/<split>/labels.npy   [N] int64
    prepared/<split>/ids.npy      [N] int64

A split whose images stay in their files has, in the place of images.npy:

    prepared/<split>/paths.txt    one path a line, relative to the root in the manifest
    prepared/<split>/digests.npy  SHA-256 of each file, [N, 32] uint8

one whose images come packed into larger files, so that their paths are names alone, also:

    prepared/<split>/packed.bin   the image files behind one another
    prepared/<split>/ends.npy     where each ends, [N] int64

And one whose images were brought from files to one size keeps paths.txt beside its arrays, so that
they can be named.

`ltood/preparing/prepare.py` writes them. The arrays are uncompressed and mapped into memory; when
a process first touches a split, every array is compared with its digest in the manifest, and
image files are compared with theirs each time they are read. NumPy only.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, DataError, StoreError
from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles
from ltood.images.packed import BinaryPack, PackedFiles
from ltood.runtime.console import progress
from ltood.runtime.files import read_json, read_regular
from ltood.runtime.numpy_files import UNREADABLE
from ltood.runtime.provenance import digest
from ltood.runtime.workspace import locate

SCHEMA = 2
MANIFEST = "manifest.json"
TRAINING = "training.json"
SUMMARY = "summary.json"
PATHS = "paths.txt"
PACKED = "packed.bin"
ENDS = "ends.npy"
#: Splits that training may see.
_LEARNED = ("train", "val", "aux")
#: Arrays of a split in memory and of one in files.
_ARRAYS = ("images", "labels", "ids")
_FILE_ARRAYS = ("labels", "ids", "digests")

_RERUN = "run the prepare stage again (`dvc repro`)"


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Prepared images on disk, mapped into memory read-only; an `ImageData`.

    Attributes:
        path: The folder.
        manifest: Content of manifest.json: `dataset`, `settings`, `class_names`,
            `class_counts` (of the training split) and, by name, `splits` with `rows`, `shape`
            [H, W, C], the SHA-256 of each array and `content`, the digest of all of them; `root`
            in the place of `shape` where images stay in files, and `jpeg_side` where it is set.
    """

    path: Path
    manifest: Mapping[str, Any]
    _verified: dict[str, ImageSplit | ImageFiles] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, [C]."""
        return tuple(self.manifest["class_names"])

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images of each class, [C].

        Raises:
            CorruptStoreError: If the training labels give other counts.
        """
        counts = np.array(self.manifest["class_counts"], dtype=np.int64)
        found = np.bincount(self.source("train").labels, minlength=len(counts))
        if not np.array_equal(found, counts):
            raise CorruptStoreError(
                f"{self.path / MANIFEST} has class_counts that differ from the training labels; "
                f"{_RERUN}."
            )
        return counts

    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""
        return tuple(self.manifest["splits"])

    def split(self, name: str) -> ImageSplit:
        """Arrays of one split, read-only.

        Raises:
            StoreError: If there is no such split.
            CorruptStoreError: If a file is missing or was changed.
            DataError: If the images of the split stay in files.
        """
        found = self.source(name)
        if isinstance(found, ImageSplit):
            return found
        dataset = self.manifest["dataset"]
        raise DataError(
            f"the images of {name} are files of many sizes, and arrays of one size are needed "
            f"here; set datasets.{dataset}.size, or choose a backbone that brings images to a "
            "size of its own (resnet50, clip)."
        )

    def source(self, name: str) -> ImageSplit | ImageFiles:
        """Arrays or image files of one split, compared with their digests on first touch.

        Raises:
            StoreError: If there is no such split.
            CorruptStoreError: If a file is missing or was changed.
        """
        if name not in self._verified:
            found = self._open(name)
            self._verify(name, found)
            self._verified[name] = found
        return self._verified[name]

    def verify(self) -> None:
        """Compare every array with its digest; image files are not read.

        Raises:
            CorruptStoreError: If a file is missing or its content was changed.
        """
        with progress(f"verify {self.path.name}", len(self.splits()), "splits") as advance:
            for name in self.splits():
                self._verify(name, self._open(name))
                advance(1)

    def _open(self, name: str) -> ImageSplit | ImageFiles:
        """One split, known to have the shapes and types of the manifest."""
        if name not in self.manifest["splits"]:
            known = ", ".join(self.splits())
            raise StoreError(f"{self.path} has no split {name!r}; it has {known}.")
        entry = self.manifest["splits"][name]
        rows, folder = entry["rows"], self.path / name
        labels = _mapped(folder / "labels.npy", "int64", (rows,))
        ids = _mapped(folder / "ids.npy", "int64", (rows,))
        skipped = tuple(entry.get("skipped", ()))
        try:
            if "shape" not in entry:
                return _files(folder, entry, labels, ids, skipped)
            images = _mapped(folder / "images.npy", "uint8", (rows, *entry["shape"]))
            paths = _paths(folder / PATHS, rows) if "paths_sha256" in entry else ()
            return ImageSplit(images, labels, ids, skipped, paths)
        except DataError as error:
            raise CorruptStoreError(f"{folder} was changed: {error} {_sentence(_RERUN)}") from error

    def _verify(self, name: str, split: ImageSplit | ImageFiles) -> None:
        entry, folder = self.manifest["splits"][name], self.path / name
        found = {f"{key}.npy": array_sha256(values) for key, values in split.columns().items()}
        if split.paths:
            found[PATHS] = paths_sha256(split.paths)
        for file, sha256 in found.items():
            if sha256 != entry[f"{Path(file).stem}_sha256"]:
                raise CorruptStoreError(
                    f"{folder / file} was changed after it was prepared (its SHA-256 differs from "
                    f"the manifest); {_RERUN}."
                )


def _files(
    folder: Path,
    entry: Mapping[str, Any],
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
    skipped: tuple[str, ...],
) -> ImageFiles:
    """A split whose images stay files, where they lie or packed into one."""
    rows = entry["rows"]
    paths = _paths(folder / PATHS, rows)
    digests = _mapped(folder / "digests.npy", "uint8", (rows, 32))
    side = entry.get("jpeg_side")
    if "packed" not in entry:
        root = locate(entry["root"])
        return ImageFiles(root, paths, labels, ids, digests, skipped=skipped, jpeg_side=side)
    pack = BinaryPack(folder / PACKED, _mapped(folder / ENDS, "int64", (rows,)))
    return PackedFiles(
        folder,
        paths,
        labels,
        ids,
        digests,
        skipped=skipped,
        jpeg_side=side,
        pack=pack,
        places=np.arange(rows),
    )


def open_prepared(path: Path) -> PreparedData:
    """Open a folder of prepared images and check every file against its manifest.

    Shapes, types and file sizes are compared at once, contents when a split is first touched.

    Raises:
        StoreError: If there is no prepared data, or another version wrote it.
        CorruptStoreError: If the manifest is unreadable or changed, or a file does not fit it.
    """
    manifest = _read(path / MANIFEST)
    if manifest.get("schema", SCHEMA) != SCHEMA:
        raise StoreError(
            f"{path} was prepared with schema {manifest['schema']}, this version reads {SCHEMA}; "
            f"{_RERUN}."
        )
    prepared = PreparedData(path, manifest)
    try:
        for key in ("dataset", "settings", "class_names", "class_counts"):
            manifest[key]
        for name, entry in manifest["splits"].items():
            prepared._open(name)
            if entry["content"] != content_digest(entry):
                raise CorruptStoreError(f"{path / MANIFEST} was edited ({name}); {_RERUN}.")
        if manifest["sha256"] != manifest_digest(manifest):
            raise CorruptStoreError(f"{path / MANIFEST} was edited; {_RERUN}.")
        if _read(path / TRAINING) != training_inputs(manifest):
            raise CorruptStoreError(
                f"{path / TRAINING} and {MANIFEST} come from different runs; {_RERUN}."
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptStoreError(
            f"{path / MANIFEST} lacks an entry or has a malformed one ({error}); {_RERUN}."
        ) from error
    return prepared


def training_inputs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Everything in prepared data that training reads, as plain values: training.json.

    Args:
        manifest: That of prepared data.

    Returns:
        `class_names`, `class_counts`, and by name, in `splits`, the digest of the content of
        train, val and aux, as far as they are there. Neither names of datasets nor settings,
        places or OOD sets.
    """
    splits = manifest["splits"]
    return {
        "class_names": list(manifest["class_names"]),
        "class_counts": list(manifest["class_counts"]),
        "splits": {name: splits[name]["content"] for name in _LEARNED if name in splits},
    }


def content_digest(entry: Mapping[str, Any]) -> str:
    """Digest of what a split holds, whatever it is called and wherever its files lie.

    Args:
        entry: That of the split in the manifest.
    """
    arrays = _FILE_ARRAYS if "shape" not in entry else _ARRAYS
    found = {"shape": entry.get("shape"), **{key: entry[f"{key}_sha256"] for key in arrays}}
    if "jpeg_side" in entry:  # Equal files then give other pixels.
        found["jpeg_side"] = entry["jpeg_side"]
    return digest(found)


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Digest of a manifest, by which an edit shows."""
    return digest({key: value for key, value in manifest.items() if key != "sha256"})


def array_sha256(values: NDArray[Any]) -> str:
    """Hash the bytes of an array, its rows in order, as hexadecimal digits."""
    rows: Any = np.ascontiguousarray(values)
    return hashlib.sha256(memoryview(rows).cast("B")).hexdigest()


def paths_sha256(paths: Sequence[str]) -> str:
    """Hash a list of paths, in order, as hexadecimal digits."""
    return hashlib.sha256("\n".join(paths).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path, _RERUN)
    except FileNotFoundError:
        raise StoreError(f"{path.parent} holds no prepared data ({path.name}); {_RERUN}.") from None
    if not isinstance(found, dict):
        raise CorruptStoreError(f"{path} is not a JSON object; {_RERUN}.")
    return found


def _paths(path: Path, rows: int) -> tuple[str, ...]:
    """Paths of the image files, one a line."""
    try:
        # Only "\n" ends a line: names may hold what Python takes for other ends.
        paths = tuple(read_regular(path).decode().removesuffix("\n").split("\n"))
    except (OSError, CorruptStoreError, UnicodeDecodeError) as error:
        raise CorruptStoreError(f"{path} cannot be read ({error}); {_RERUN}.") from error
    if len(paths) != rows:
        raise CorruptStoreError(
            f"{path} lists {len(paths)} files, the manifest says {rows}; {_RERUN}."
        )
    return paths


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map one array read-only and compare it with the manifest."""
    if path.exists() and not path.is_file():  # A pipe would be waited for.
        raise CorruptStoreError(f"{path} is not a regular file; {_RERUN}.")
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
        trailing = path.stat().st_size - mapped.offset - mapped.nbytes
    except UNREADABLE as error:
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
