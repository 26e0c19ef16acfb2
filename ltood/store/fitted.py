"""What a slot has learned, kept as plain arrays with the settings that gave it.

A folder with `fitted.json` and `state.safetensors`; nothing in it can execute code,
and reading or writing it needs no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import to_json_bytes, write_folder
from ltood.store.chunks import checksum

_DOCUMENT = "fitted.json"
_STATE = "state.safetensors"


@dataclass(frozen=True)
class FittedEntry:
    """A fitted calibrator, method or normaliser as plain values.

    Attributes:
        name: Entry name, such as "patt".
        settings: Its settings.
        features_fingerprint: Fingerprint of the feature store it was fitted on.
        in_use: Values derived from data that a reader should see.
        state: Learned arrays by name.
    """

    name: str
    settings: dict[str, Any]
    features_fingerprint: str
    in_use: dict[str, float] = field(default_factory=dict)
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def write_fitted(folder: Path, entry: FittedEntry) -> None:
    """Write `entry` to `folder` in one rename, replacing what was there.

    Raises:
        StoreError: If it cannot be written.
    """
    from safetensors.numpy import save

    raw = save({name: np.asarray(values, order="C") for name, values in entry.state.items()})
    document = {
        "name": entry.name,
        "settings": entry.settings,
        "features_fingerprint": entry.features_fingerprint,
        "in_use": entry.in_use,
        "crc32c": checksum(raw),
    }
    write_folder(folder, {_STATE: raw, _DOCUMENT: to_json_bytes(document)})


def read_fitted(folder: Path) -> FittedEntry:
    """Read what `write_fitted` wrote.

    Raises:
        StoreError: If it is missing.
        CorruptStoreError: If it is unreadable or changed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not (folder / _DOCUMENT).is_file():
        raise StoreError(f"{folder} holds no {_DOCUMENT}; run the calibrate stage.")
    try:
        document = json.loads((folder / _DOCUMENT).read_bytes())
        raw = (folder / _STATE).read_bytes()
        if checksum(raw) != document["crc32c"]:
            raise CorruptStoreError(
                f"{folder / _STATE} changed after it was written; run the calibrate stage again."
            )
        state = load(raw)
        return FittedEntry(
            document["name"],
            document["settings"],
            document["features_fingerprint"],
            document["in_use"],
            state,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CorruptStoreError(
            f"{folder} is unreadable ({error}); run the calibrate stage again."
        ) from None
