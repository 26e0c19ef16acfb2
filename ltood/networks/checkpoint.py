"""A trained network on disk: its weights, and what they were made from.

    checkpoint/model.safetensors   weights and buffers of the backbone
    checkpoint/checkpoint.json     all inputs of the training, and the SHA-256 of the weights
    checkpoint/head_extras.safetensors
                                   what the recipe learned for stage two, where it did
    checkpoint/history.csv         loss terms and validation accuracy by epoch
    checkpoint/state/              only while training is unfinished

`checkpoint.json` is written last, so a folder that holds it is whole. No time of day or
duration is kept: equal training gives equal bytes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.core.settings import parse
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.runtime.files import write_atomically

SCHEMA = 1
META = "checkpoint.json"
WEIGHTS = "model.safetensors"
EXTRAS = "head_extras.safetensors"
HISTORY = "history.csv"
STATE = "state"

_RERUN = "run the train stage again"


def write_checkpoint(
    path: Path,
    backbone: Backbone,
    content: Mapping[str, Any],
    extras: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Write weights and then their description to the folder `path`.

    Args:
        path: An existing folder.
        backbone: Gives the weights and the description of the images.
        content: Plain values: `backbone` with `name` and `settings`, and all that is to be known.
        extras: `Recipe.head_extras()`; nothing is written for none.
    """
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save

    tensors = {name: value.cpu().contiguous() for name, value in backbone.state_dict().items()}
    weights = save(tensors)
    meta = {
        **content,
        "schema": SCHEMA,
        "images": dataclasses.asdict(backbone.images),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomically(path / WEIGHTS, weights)
    if extras:
        raw = save_arrays(dict(extras))
        meta["head_extras_sha256"] = hashlib.sha256(raw).hexdigest()
        write_atomically(path / EXTRAS, raw)
    text = json.dumps(meta, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path / META, text.encode())


def read_meta(path: Path) -> dict[str, Any]:
    """Description of the checkpoint in the folder `path`; the weights are compared with it.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        IncompleteStoreError: If training has not finished.
        CorruptStoreError: If a file is unreadable or the weights were changed.
    """
    return _read(path)[0]


def read_head_extras(path: Path) -> dict[str, NDArray[np.float32]]:
    """What the recipe of the checkpoint in the folder `path` learned for stage two.

    Returns:
        Arrays by their name in a `ClassifierHead`; none for most recipes.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        IncompleteStoreError: If training has not finished.
        CorruptStoreError: If a file is unreadable or was changed.
    """
    from safetensors.numpy import load

    extras = _read(path)[2]
    return load(extras) if extras else {}


def load_checkpoint(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[Backbone, dict[str, Any]]:
    """Rebuild the trained backbone, in evaluation mode on `device`, with its description.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        IncompleteStoreError: If training has not finished.
        CorruptStoreError: If a file is unreadable, or weights and description do not fit.
    """
    from safetensors.torch import load

    meta, weights, _ = _read(path)
    try:
        images = parse(meta["images"], ImageSpec, f"{path / META}: images")
        name, settings = meta["backbone"]["name"], meta["backbone"]["settings"]
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{path / META} does not describe a backbone and its images; {_RERUN}."
        ) from error
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, then replaced
        backbone = build_backbone(name, settings, images, fetch=False)
    try:
        backbone.load_state_dict(load(weights))
    except RuntimeError as error:
        raise CorruptStoreError(
            f"{path / WEIGHTS} holds other tensors than {name} has "
            f"({' '.join(str(error).split())[:200]}); {_RERUN}."
        ) from error
    return backbone.to(device).eval(), meta


def _read(path: Path) -> tuple[dict[str, Any], bytes, bytes]:
    """Description and verified bytes of the weights and of the recipe's extras."""
    if not (path / META).is_file():
        if (path / STATE).is_dir():
            raise IncompleteStoreError(f"training of {path} has not finished; {_RERUN}.")
        raise StoreError(f"{path} holds no checkpoint ({META}); run the train stage.")
    try:
        meta = json.loads((path / META).read_bytes())
        schema, recorded = meta["schema"], meta["weights_sha256"]
        weights = (path / WEIGHTS).read_bytes()
        of_extras = meta.get("head_extras_sha256")
        extras = (path / EXTRAS).read_bytes() if of_extras else b""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{path} cannot be read ({type(error).__name__}: {error}); {_RERUN}."
        ) from error
    if schema != SCHEMA:
        raise StoreError(
            f"{path} was written with schema {schema}, this version reads {SCHEMA}; {_RERUN}."
        )
    _compare(path / WEIGHTS, weights, recorded)
    if of_extras:
        _compare(path / EXTRAS, extras, of_extras)
    return meta, weights, extras


def _compare(path: Path, content: bytes, recorded: str) -> None:
    """Refuse a file whose bytes are not those that were recorded."""
    found = hashlib.sha256(content).hexdigest()
    if found != recorded:
        raise CorruptStoreError(
            f"{path} has SHA-256 {found[:12]}… but {recorded[:12]}… is recorded: the weights were "
            f"changed after training; {_RERUN}."
        )
