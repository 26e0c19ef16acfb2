"""What is to be judged: image files, folders of images and NumPy archives, looked at beforehand.

An `.npz` archive holds `features` [N, D] (with `local` [N, P, D] where the method reads it)
or `images` [N, H, W, C] uint8, and optionally `ids` [N]; if it holds both, features are
read. What does not fit is refused here, before the first verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.incoming import missing_local
from ltood.images.folders import images_below
from ltood.runtime.console import log
from ltood.store.archives import Archive

_ARCHIVE = ".npz"
#: Top folders that hold no files of users, and some of them no end of others.
_SYSTEM = (("dev",), ("proc",), ("sys",))
#: A disk in memory among them.
_MEMORY = ("dev", "shm")


@dataclass(frozen=True)
class ImageInputs:
    """Image files.

    Attributes:
        files: Their paths.
    """

    files: Sequence[Path]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)


@dataclass(frozen=True)
class ArchiveInputs:
    """Rows of an archive.

    Attributes:
        path: The archive.
        arrays: Arrays that are read: features and perhaps local, or images.
        rows: Number of rows.
    """

    path: Path
    arrays: tuple[str, ...]
    rows: int

    def __len__(self) -> int:
        """Number of rows."""
        return self.rows

    @property
    def has_features(self) -> bool:
        """Whether features are read, not images."""
        return "features" in self.arrays


Inputs = ImageInputs | ArchiveInputs


def find_inputs(detector: DeployedDetector, paths: Sequence[Path]) -> list[Inputs]:
    """What there is to judge below some paths, in their order.

    Args:
        detector: What judges it.
        paths: Image files, folders (searched for image files, also in their folders, in
            alphabetical order) and `.npz` archives.

    Raises:
        DataError: If a path does not exist, a folder holds no images, or an archive does not fit.
        MissingNeedError: If the method reads local features and an archive of features has none.
    """
    found: list[Inputs] = []
    for path in paths:
        if path.suffix.lower() == _ARCHIVE and not path.is_dir():
            with Archive(path) as archive:
                found.append(_of_archive(detector, archive))
        else:
            found.append(ImageInputs(image_files(path)))
    return found


def image_files(path: Path) -> list[Path]:
    """The image file `path`, or all image files below the folder `path` in order.

    Raises:
        DataError: If nothing is there, or it is a folder of the system or without an image.
    """
    if path.is_file():
        return [path]
    refuse_unusable_folder(path)
    found = images_below(path, any_name=True)
    for note in found.notes():
        log(f"{path}: {note}")
    return [path / name for name in found.paths]


def refuse_unusable_folder(path: Path) -> None:
    """Refuse a folder that is not there or is one of the system.

    Raises:
        DataError: With what to give instead.
    """
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist; give image files, folders of images or .npz archives."
        )
    where = path.resolve()
    in_memory = where.parts[1:3] == _MEMORY and len(where.parts) > 3
    if where == Path(where.anchor) or (where.parts[1:2] in _SYSTEM and not in_memory):
        raise DataError(
            f"{path} is a folder of the system, not of images; give the folder that holds them."
        )


def _of_archive(detector: DeployedDetector, archive: Archive) -> ArchiveInputs:
    """What is read of an archive, after a look at shapes and types."""
    if "features" not in archive.names:
        _check_images(archive)
        rows = archive.shape("images")[0]
        read_ids(archive, rows)
        return ArchiveInputs(archive.path, ("images",), rows)
    path, shape = archive.path, archive.shape("features")
    if len(shape) != 2 or shape[1] != detector.head.dim:
        raise DataError(
            f"{path}: features have shape {list(shape)} but the detector was fitted on "
            f"{detector.head.dim} columns; extract them with the backbone it belongs to."
        )
    arrays = ["features"]
    if detector.needs_local:
        if "local" not in archive.names:
            raise missing_local(detector.description["method"]["name"])
        if archive.shape("local")[:1] != shape[:1]:
            raise DataError(
                f"{path}: local has shape {list(archive.shape('local'))} for {shape[0]} rows of "
                "features; both must have the same rows."
            )
        arrays.append("local")
    for name in arrays:
        if archive.dtype(name).kind not in "fiu":
            raise DataError(f"{path}: {name} are {archive.dtype(name)}; they must be numbers.")
    read_ids(archive, shape[0])
    return ArchiveInputs(path, tuple(arrays), shape[0])


def _check_images(archive: Archive) -> None:
    """Refuse an archive that holds neither features nor images.

    Raises:
        DataError: With what it holds.
    """
    if "images" not in archive.names:
        raise DataError(
            f"{archive.path} holds {', '.join(archive.names) or 'nothing'}; it needs an array "
            "features [N, D] or images [N, H, W, C]."
        )
    shape, dtype = archive.shape("images"), archive.dtype("images")
    if len(shape) != 4 or shape[3] not in (1, 3) or dtype != np.uint8:
        raise DataError(
            f"{archive.path}: images are {dtype} of shape {list(shape)}; they must be uint8 of "
            "shape [N, H, W, C] with C 1 (grey) or 3 (RGB)."
        )


def read_ids(archive: Archive, rows: int) -> NDArray[np.int64]:
    """Ids of the rows, [rows]; their numbers where the archive names none.

    Raises:
        DataError: If they are not one whole number for each row.
    """
    if "ids" not in archive.names:
        return np.arange(rows, dtype=np.int64)
    ids = archive.load("ids")
    if ids.shape != (rows,) or ids.dtype.kind not in "iu":
        raise DataError(
            f"{archive.path}: ids are {ids.dtype} of shape {list(ids.shape)}; they must be whole "
            f"numbers of shape [{rows}]."
        )
    return ids.astype(np.int64)
