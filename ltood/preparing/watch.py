"""Manifest of a dataset's inputs: the digests of all files that `prepare` reads.

The pipeline writes it before anything else and lets `prepare` depend on it by content, so that
an image added, removed, renamed or replaced in place reruns exactly what it must. Nothing is
decoded here, and a file that has not changed is not read (`runtime/file_hashes.py`).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltood.images.sources import PLACES, ImageDataset, WatchedFiles
from ltood.runtime.file_hashes import FileHashes
from ltood.runtime.workspace import below_workspace

SCHEMA = 1


def manifest(
    dataset: ImageDataset, name: str, settings: Mapping[str, Any], hashes: Path
) -> dict[str, Any]:
    """Describe all that `prepare` would read.

    Args:
        dataset: Says which files it reads.
        name: Dataset name, such as "folder".
        settings: Dataset settings, plain values.
        hashes: Database of digests that are known already.

    Returns:
        Plain values: `dataset`, `settings` without those that name places, and by split or list
        the number of files, their bytes and one digest of their relative paths and contents. The
        folder that paths start from counts only where the images stay in it.

    Raises:
        DataError: If a folder or file is missing or unusable.
        ConfigError: If settings contradict what lies in the folder.
    """
    known = FileHashes(hashes)
    return {
        "schema": SCHEMA,
        "dataset": name,
        "settings": {key: settings[key] for key in sorted(settings) if key not in PLACES},
        "files": {key: _described(files, known) for key, files in dataset.watched().items()},
    }


def _described(files: WatchedFiles, known: FileHashes) -> dict[str, Any]:
    found = hashlib.sha256()
    for path, digest in zip(files.paths, known.digests(files.root, files.paths), strict=True):
        found.update(f"{len(path)}:{path}".encode())
        found.update(digest)
    return {
        "files": len(files.paths),
        "sha256": found.hexdigest(),
        **({"rows": files.first} if files.first is not None else {}),
        **({"root": below_workspace(files.root)} if files.stay else {}),
    }
