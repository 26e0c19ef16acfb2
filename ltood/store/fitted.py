"""Learned state of a slot as plain arrays, with the settings it was fitted with.

A folder with `fitted.json` and `state.safetensors`; nothing in it can execute code,
and reading or writing it needs no torch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError
from ltood.runtime.files import read_regular, write_folder
from ltood.store.chunks import checksum
from ltood.store.documents import read_sealed, sealed_json

SCHEMA = 2
_DOCUMENT = "fitted.json"
_STATE = "state.safetensors"
_RERUN = "run the calibrate stage again"


@dataclass(frozen=True)
class FittedEntry:
    """A fitted calibrator, method or normaliser as plain values.

    Attributes:
        name: Entry name, such as "patt".
        settings: Its settings.
        features_fingerprint: Fingerprint of the feature store it was fitted on.
        derived: Values derived from data that a reader should see.
        state: Learned arrays by name.
        findings: Facts that were found in data, as plain values.
        behind: Digest of the calibrator behind which it was fitted; empty for a calibrator.
    """

    name: str
    settings: dict[str, Any]
    features_fingerprint: str
    derived: dict[str, float] = field(default_factory=dict)
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    behind: str = ""

    def record(self) -> dict[str, Any]:
        """Name, settings and what was found in data, as files keep them."""
        record = {"name": self.name, "settings": self.settings, "in_use": self.derived}
        return {**record, "findings": self.findings} if self.findings else record

    @property
    def digest(self) -> str:
        """SHA-256 of all that it is."""
        return hashlib.sha256(sealed_json(self._document()) + self._raw()).hexdigest()

    def _raw(self) -> bytes:
        """Learned arrays as a file of safetensors."""
        from safetensors.numpy import save

        return save({name: np.asarray(values, order="C") for name, values in self.state.items()})

    def _document(self) -> dict[str, Any]:
        behind = {"behind": self.behind} if self.behind else {}
        return {**self.record(), "features_fingerprint": self.features_fingerprint, **behind}


def write_fitted(folder: Path, entry: FittedEntry) -> None:
    """Write `entry` to `folder` in one rename, replacing what was there.

    Raises:
        StoreError: If it cannot be written.
    """
    raw = entry._raw()
    document = {"schema": SCHEMA, **entry._document(), "crc32c": checksum(raw)}
    write_folder(folder, {_STATE: raw, _DOCUMENT: sealed_json(document)})


def read_fitted(folder: Path) -> FittedEntry:
    """Read what `write_fitted` wrote.

    Raises:
        StoreError: If it is missing.
        CorruptStoreError: If it is unreadable or changed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    document = read_sealed(folder / _DOCUMENT, SCHEMA, _RERUN)
    try:
        raw = read_regular(folder / _STATE)
        if checksum(raw) != document["crc32c"]:
            raise CorruptStoreError(f"{folder / _STATE} changed after it was written; {_RERUN}.")
        return FittedEntry(
            document["name"],
            document["settings"],
            document["features_fingerprint"],
            document["in_use"],
            load(raw),
            document.get("findings", {}),
            document.get("behind", ""),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CorruptStoreError(f"{folder} is unreadable ({error}); {_RERUN}.") from None
