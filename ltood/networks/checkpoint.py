"""A trained network on disk: from a backbone to the files of a checkpoint and back."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError
from ltood.core.settings import parse
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.networks.checkpoint_files import (
    META,
    WEIGHTS,
    CheckpointFiles,
    read_extras,
    read_files,
    write_files,
)

_RERUN = "run the train stage again"


def write_checkpoint(
    path: Path,
    backbone: Backbone,
    content: Mapping[str, Any],
    extras: Mapping[str, NDArray[np.float32]] | None = None,
    history: str = "",
) -> None:
    """Write weights and then their description to the folder `path`.

    Args:
        path: An existing folder.
        backbone: Gives the weights and the description of the images.
        content: Plain values: `backbone` with `name` and `settings`, and all that is to be known.
        extras: `Recipe.head_extras()`; nothing is written for none.
        history: Table of the epochs as comma-separated text; nothing is written for none.

    Raises:
        StoreError: If it cannot be written, such as on a full disk.
    """
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save

    tensors = {name: value.cpu().contiguous() for name, value in backbone.state_dict().items()}
    meta = {**content, "images": dataclasses.asdict(backbone.images)}
    raw = save_arrays(dict(extras)) if extras else b""
    write_files(path, CheckpointFiles(meta, save(tensors), raw, history.encode()))


def read_head_extras(path: Path) -> dict[str, NDArray[np.float32]]:
    """Arrays for stage two learned by the recipe of the checkpoint in the folder `path`.

    Returns:
        Arrays by their name in a `ClassifierHead`; none for most recipes.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        CorruptStoreError: If their file or the description is unreadable or was changed.
    """
    from safetensors.numpy import load

    extras = read_extras(path)
    return load(extras) if extras else {}


def load_checkpoint(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[Backbone, dict[str, Any]]:
    """Rebuild the trained backbone, in evaluation mode on `device`, with its description.

    Raises:
        StoreError: If there is no checkpoint or another version wrote it.
        CorruptStoreError: If a file is unreadable, or weights and description do not fit.
    """
    from safetensors.torch import load

    files = read_files(path)
    try:
        images = parse(files.meta["images"], ImageSpec, f"{path / META}: images")
        described = files.meta["backbone"]
        name, settings = described["name"], described["settings"]
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{path / META} does not describe a backbone and its images; {_RERUN}."
        ) from error
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, then replaced
        backbone = build_backbone(name, settings, images, fetch=False)
    try:
        backbone.load_state_dict(load(files.weights))
    except RuntimeError as error:
        raise CorruptStoreError(
            f"{path / WEIGHTS} does not hold the tensors of {name} "
            f"({' '.join(str(error).split())[:200]}); {_RERUN}."
        ) from error
    return backbone.to(device).eval(), dict(files.meta)
