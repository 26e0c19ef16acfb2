"""The files of a trained network on disk, without torch.

    checkpoint/model.safetensors   weights and buffers of the backbone
    checkpoint/checkpoint.json     all inputs of the training, and digests of everything here
    checkpoint/head_extras.safetensors
                                   what the recipe learned for stage two, where it did
    checkpoint/history.csv         learning rate, loss terms, validation accuracy and loss by epoch,
                                   where it trained

`checkpoint.json` is written last, so a folder that holds it is whole. Every file is bound to it by
its SHA-256, and it is bound to itself by the digest of its own content. No time of day or duration
is kept: equal training gives equal bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError, DataError, StoreError
from ltood.runtime.files import read_regular, write_atomically
from ltood.runtime.provenance import digest

SCHEMA = 2
META = "checkpoint.json"
WEIGHTS = "model.safetensors"
EXTRAS = "head_extras.safetensors"
HISTORY = "history.csv"
#: Files by the key of their digest in the description.
_DIGESTS = {
    "weights_sha256": WEIGHTS,
    "head_extras_sha256": EXTRAS,
    "history_sha256": HISTORY,
}
_CONTENT = "content_sha256"

_RERUN = "run the train stage again"


@dataclass(frozen=True)
class CheckpointFiles:
    """A whole checkpoint in memory.

    Attributes:
        meta: The description, `checkpoint.json`.
        weights: Bytes of a safetensors file.
        extras: The same for what the recipe learned for stage two; empty for most recipes.
        history: Table of the epochs; empty where nothing was trained.
    """

    meta: Mapping[str, Any]
    weights: bytes
    extras: bytes = b""
    history: bytes = b""


def write_files(path: Path, files: CheckpointFiles) -> None:
    """Write a checkpoint to the existing folder `path`, its description last.

    Args:
        path: An empty folder.
        files: Schema and digests of `meta`, such as those of a description that was read, are
            replaced by their own.

    Raises:
        StoreError: If a file cannot be written.
    """
    for name, content in file_contents(files).items():
        write_atomically(path / name, content)


def file_contents(files: CheckpointFiles) -> dict[str, bytes]:
    """Content of the files of a checkpoint by name, its description last; see `write_files`."""
    written = {*_DIGESTS, _CONTENT}
    meta = {key: value for key, value in files.meta.items() if key not in written}
    meta["schema"] = SCHEMA
    contents = {}
    for key, content in zip(_DIGESTS, (files.weights, files.extras, files.history), strict=True):
        if content or key == "weights_sha256":
            meta[key] = hashlib.sha256(content).hexdigest()
            contents[_DIGESTS[key]] = content
    meta[_CONTENT] = digest(meta)
    text = json.dumps(meta, indent=2, sort_keys=True, allow_nan=False) + "\n"
    return {**contents, META: text.encode()}


def read_meta(path: Path) -> dict[str, Any]:
    """Description of the checkpoint in the folder `path`; every file is compared with it.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        CorruptStoreError: If a file is unreadable or was changed.
    """
    return dict(read_files(path).meta)


def read_files(path: Path) -> CheckpointFiles:
    """Description and verified bytes of the checkpoint in the folder `path`.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        CorruptStoreError: If a file is unreadable or was changed.
    """
    meta = _description(path)
    return CheckpointFiles(meta, *(_content(path, meta, key) for key in _DIGESTS))


def read_history(path: Path, fingerprint: str) -> str:
    """Verified text of the table of epochs, empty where nothing was trained; weights are not read.

    Args:
        path: Folder of the checkpoint.
        fingerprint: That of the training.

    Raises:
        StoreError: If there is no checkpoint, or that of another training.
        CorruptStoreError: If its description or this file is unreadable or was changed.
    """
    meta = _description(path)
    if meta.get("fingerprint") != fingerprint:
        raise StoreError(
            f"{path} comes from training {str(meta.get('fingerprint'))[:12]}… but the scores from "
            f"{fingerprint[:12]}…; run the stages from extract on again."
        )
    return _content(path, meta, "history_sha256").decode()


def read_extras(path: Path) -> bytes:
    """Verified bytes of what the recipe learned for stage two; the weights are not read.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        CorruptStoreError: If its description or this file is unreadable or was changed.
    """
    return _content(path, _description(path), "head_extras_sha256")


def weights_digest(source: Path) -> str:
    """Digest of weights in a file or in the folder of a checkpoint; names do not count.

    Every file of a checkpoint is compared with its description.

    Raises:
        DataError: If there is no such file or it cannot be read.
        StoreError: If the folder holds no whole checkpoint.
    """
    if source.is_dir():
        return _taken_over(read_meta(source))
    try:
        if source.exists() and not source.is_file():
            raise DataError(f"{source} is not a regular file; name a file of weights.")
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"training.weights is {str(source)!r}, which cannot be read "
            f"({error.strerror or error}); put the file there, or set training.weights to null."
        ) from error


def recorded_weights_digest(path: Path) -> str:
    """The digest that `weights_digest` gives of a checkpoint, without reading its weights.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        CorruptStoreError: If its description is unreadable or was changed.
    """
    return _taken_over(_description(path))


def _taken_over(meta: Mapping[str, Any]) -> str:
    """Digest of the weights and of other arrays that the recipe learned."""
    return digest({key: meta.get(key) for key in ("weights_sha256", "head_extras_sha256")})


def _description(path: Path) -> dict[str, Any]:
    """Content of `checkpoint.json`, as it was written."""
    if not (path / META).is_file():
        raise StoreError(f"{path} holds no checkpoint ({META}); run the train stage.")
    try:
        meta: dict[str, Any] = json.loads((path / META).read_bytes())
        schema = meta["schema"]
        found = digest({key: meta[key] for key in meta if key != _CONTENT})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if schema != SCHEMA:
        raise StoreError(
            f"{path} was written with schema {schema}, this version reads {SCHEMA}; {_RERUN}."
        )
    if found != meta.get(_CONTENT) or "weights_sha256" not in meta:
        raise CorruptStoreError(
            f"{path / META} was changed after training: its content does not have the digest "
            f"that it records; {_RERUN}."
        )
    return meta


def _unreadable(path: Path, error: Exception) -> CorruptStoreError:
    return CorruptStoreError(f"{path} cannot be read ({type(error).__name__}: {error}); {_RERUN}.")


def _content(path: Path, meta: Mapping[str, Any], key: str) -> bytes:
    """Bytes of the file whose digest is `key`, as they were recorded; none where it is not."""
    if key not in meta:
        return b""
    file, recorded = path / _DIGESTS[key], meta[key]
    try:
        content = read_regular(file)
    except (OSError, CorruptStoreError) as error:
        raise _unreadable(path, error) from error
    found = hashlib.sha256(content).hexdigest()
    if found != recorded:
        raise CorruptStoreError(
            f"{file} has SHA-256 {found[:12]}… but {recorded[:12]}… is recorded: it was changed "
            f"after training; {_RERUN}."
        )
    return content
