"""Prepared images on disk: arrays, paths, manifest, and the one rename that shows them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ltood.core.errors import StoreError
from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles
from ltood.images.packed import PackedFiles
from ltood.images.prepared import (
    ENDS,
    MANIFEST,
    PACKED,
    PATHS,
    TRAINING,
    array_sha256,
    content_digest,
    manifest_digest,
    paths_sha256,
    training_inputs,
)
from ltood.runtime.files import building_folder, write_atomically, writing
from ltood.runtime.workspace import below_workspace, origin


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `out` once the block is done.

    Raises:
        StoreError: If `out` holds something else than prepared data, or cannot be written.
    """
    if out.exists() and not _is_ours(out):
        raise StoreError(
            f"{out} exists and holds no prepared data; move it away or choose another folder."
        )
    with building_folder(out) as building:
        yield building


def write_split(split: ImageSplit | ImageFiles, folder: Path) -> dict[str, Any]:
    """Write one split, flushed to disk.

    Args:
        split: Arrays, or files with their digests.
        folder: Folder to make.

    Returns:
        Its entry in the manifest.
    """
    folder.mkdir()
    entry: dict[str, Any] = {"rows": len(split)}
    if isinstance(split, ImageFiles):
        if isinstance(split, PackedFiles):
            entry["packed"] = _write_pack(split, folder)
        else:
            entry["root"] = _root(split.root)
        if split.jpeg_side is not None:
            entry["jpeg_side"] = split.jpeg_side
    else:
        entry["shape"] = list(split.shape)
    if split.paths:
        entry["paths_sha256"] = paths_sha256(split.paths)
        text = "\n".join(split.paths) + "\n"
        write_atomically(folder / PATHS, text.encode(), sweep=False)
    for key, column in split.columns().items():
        values = np.ascontiguousarray(column)
        with writing(folder / f"{key}.npy", sweep=False) as file:
            np.save(file, values, allow_pickle=False)
        entry[f"{key}_sha256"] = array_sha256(values)
    entry["content"] = content_digest(entry)
    return {**entry, "skipped": list(split.skipped)} if split.skipped else entry


def _write_pack(split: PackedFiles, folder: Path) -> int:
    """Write image files behind one another, and where each ends; returns the number of bytes."""
    ends = np.zeros(len(split), dtype=np.int64)
    total = 0
    with writing(folder / PACKED, sweep=False) as file:
        for row in range(len(split)):
            content = split.content(row)
            file.write(content)
            total += len(content)
            ends[row] = total
    with writing(folder / ENDS, sweep=False) as file:
        np.save(file, ends, allow_pickle=False)
    return total


def write_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Write manifest.json with its own digest, and training.json."""
    signed = {**manifest, "sha256": manifest_digest(manifest)}
    for name, content in ((MANIFEST, signed), (TRAINING, training_inputs(manifest))):
        # Not sorted: the splits keep the order of the dataset.
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_atomically(folder / name, text.encode(), sweep=False)


def _is_ours(out: Path) -> bool:
    """Whether `out` is prepared data or an empty folder, which may be replaced."""
    return out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))


def _root(root: Path) -> str:
    """Root of the files, as a path that is also valid in the workspace of an experiment."""
    return str(root) if origin() is None else below_workspace(root)
