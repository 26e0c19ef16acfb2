"""The files of a detector as bytes, and the description that binds them; without torch.

    detector.safetensors   learned tensors of all slots, head, class means, calibration rows
    detector.json          names, settings, threshold, preprocessing, provenance, versions
    detector.network/      checkpoint of the backbone, where it is included

None can execute code. The description holds the SHA-256 of the tensors, of the weights of the
network and of itself, and is written last: files that do not belong together, or were changed by
hand, are refused. A description may also say why there is no detector.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.networks.checkpoint_files import WEIGHTS
from ltood.runtime.files import (
    Content,
    flush_folder,
    replace_together,
    to_json_bytes,
    write_folder,
)
from ltood.runtime.provenance import digest

KIND = "ltood detector"
SCHEMA = 3
#: Schema 1 has no calibration rows, schema 2 no training images; all else is the same.
READABLE = (1, 2, SCHEMA)
TENSORS = ".safetensors"
SIDECAR = ".json"
NETWORK = ".network"
EXPORT_AGAIN = "export the detector again"

#: Takes the next bytes of a file.
Put = Callable[[Content], object]

_OWN_DIGEST = "description_sha256"
_MISSING = "missing"
#: A file of no tensors, as the format has it.
_NO_TENSORS = b"\x02\0\0\0\0\0\0\0{}"


def detector_paths(path: Path) -> tuple[Path, Path]:
    """The file of tensors and its description, given either.

    Raises:
        StoreError: If `path` has another ending.
    """
    if path.suffix not in (TENSORS, SIDECAR):
        raise StoreError(
            f"{path} is not a detector file; name it <name>{TENSORS}, its description is "
            f"<name>{SIDECAR} next to it."
        )
    return path.with_suffix(TENSORS), path.with_suffix(SIDECAR)


def network_folder(path: Path) -> Path:
    """Folder of the network that belongs to a detector, whether or not it is there.

    Raises:
        StoreError: If `path` is not that of a detector.
    """
    return detector_paths(path)[0].with_suffix(NETWORK)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a detector unasked.

    Raises:
        StoreError: If one of the two files exists and `overwrite` is off.
    """
    for file in detector_paths(path):
        if file.exists() and not overwrite:
            raise StoreError(f"{file} exists already; pass --overwrite or another path.")


def save_absence(path: Path, reason: str) -> None:
    """Write the files of a detector that say why there is none, replacing what was there.

    Args:
        path: Either of the two files.
        reason: Why, and what to do about it, as a sentence.

    Raises:
        StoreError: If the path ends otherwise or the files cannot be written.
    """
    write_detector_files(path, lambda put: put(_NO_TENSORS), {_MISSING: reason}, {})


def write_detector_files(
    path: Path,
    tensors: Callable[[Put], object],
    content: Mapping[str, Any],
    network: Mapping[str, bytes] | None,
) -> None:
    """Replace all files of a detector; no description ever stands beside files of another one.

    Args:
        path: Either of the two files.
        tensors: What gives the bytes of a safetensors file, part by part.
        content: The description, without what this function adds to it.
        network: Content of the network's folder by name; None leaves the folder as it is.

    Raises:
        StoreError: If the path ends otherwise or the files cannot be written.
    """
    tensors_path, sidecar_path = detector_paths(path)
    description = {**content, "kind": KIND, "schema": SCHEMA, "network": _digests(network or {})}
    if network is not None:
        if sidecar_path.is_file():
            sidecar_path.unlink()
            flush_folder(sidecar_path.parent)
        write_folder(network_folder(path), network)
    found = hashlib.sha256()

    def write_tensors(file: IO[bytes]) -> None:
        def put(part: Content) -> None:
            found.update(part)
            file.write(part)

        tensors(put)

    def write_description(file: IO[bytes]) -> None:
        # The tensors may be larger than memory: their digest is known once they are written.
        description["sha256"] = found.hexdigest()
        description.pop(_OWN_DIGEST, None)  # a detector that was read and is written again
        description[_OWN_DIGEST] = digest(description)
        file.write(to_json_bytes(description))

    replace_together({tensors_path: write_tensors, sidecar_path: write_description})


def _digests(network: Mapping[str, bytes]) -> dict[str, str] | None:
    """SHA-256 of the weights that are included; None where there are none."""
    if WEIGHTS not in network:
        return None
    return {"weights_sha256": hashlib.sha256(network[WEIGHTS]).hexdigest()}


def read_description(path: Path) -> dict[str, Any]:
    """Description of a detector, as it was written.

    Args:
        path: The `.json` file.

    Raises:
        StoreError: If it is missing, is not that of a detector, or says that there is none.
        CorruptStoreError: If it is unreadable or was changed.
    """
    description = _read(path)
    if _MISSING in description:
        raise StoreError(f"{path} says that there is no detector: {description[_MISSING]}")
    return description


def description_or_reason(path: Path) -> dict[str, Any] | str:
    """Description of a detector, or why there is none.

    Args:
        path: The `.json` file.

    Raises:
        StoreError: If it is missing or not that of a detector.
        CorruptStoreError: If it is unreadable or was changed.
    """
    description = _read(path)
    return str(description[_MISSING]) if _MISSING in description else description


def _read(path: Path) -> dict[str, Any]:
    """Content of a description that is whole."""
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist; a detector is a {TENSORS} file with its {SIDECAR} file "
            "next to it. Copy both, or run `ltood export-detector`."
        )
    try:
        description = json.loads(path.read_bytes())
        kind, schema = description["kind"], description["schema"]
        description["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptStoreError(
            f"{path} is not a readable description of a detector ({type(error).__name__}: "
            f"{error}); {EXPORT_AGAIN}."
        ) from error
    if kind != KIND:
        raise StoreError(f"{path} describes a {kind!r}, not a detector; give another file.")
    if schema not in READABLE:
        raise StoreError(
            f"{path} has schema {schema}, this version reads up to {SCHEMA}; {EXPORT_AGAIN}, or "
            f"use ltood {description.get('versions', {}).get('ltood', 'of that version')}."
        )
    if not _is_whole(description):
        raise CorruptStoreError(
            f"{path} was changed after it was written (its SHA-256 differs); {EXPORT_AGAIN}, or "
            "pass another threshold to `ltood predict --threshold`."
        )
    result: dict[str, Any] = description
    return result


def _is_whole(description: Mapping[str, Any]) -> bool:
    """Whether a description still has the digest that it was written with."""
    content = {key: value for key, value in description.items() if key != _OWN_DIGEST}
    try:
        return description.get(_OWN_DIGEST) == digest(content)
    except ValueError:  # a number that is not finite, which is never written
        return False
