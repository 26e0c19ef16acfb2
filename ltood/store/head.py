"""The classifier head of a store: small arrays, each with its checksum in the attributes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError
from ltood.store.chunks import checksum, chunk_path, raw_bytes
from ltood.store.disks import Disk

GROUP = "head"


def output_layer(head: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight [C + e, D] and bias [C + e] of all outputs, classes first, in float32.

    Args:
        head: Arrays of the head by name.
    """
    weights, biases = (
        [head[key] for key in (name, f"extra_{name}") if key in head] for name in ("weight", "bias")
    )
    return np.concatenate(weights, dtype=np.float32), np.concatenate(biases, dtype=np.float32)


def read_head(disk: Disk, digests: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the head's arrays after checking their checksums.

    Args:
        disk: The store.
        digests: What `head_digests` gave.

    Raises:
        CorruptStoreError: If an array is missing or changed.
    """
    arrays = {}
    for name, entry in digests.items():
        shape = tuple(entry["shape"])
        path = chunk_path(disk.folder / GROUP, name, 0, len(shape))
        shown = disk.show(path)
        try:
            raw = disk.read(path)
        except FileNotFoundError:
            raise CorruptStoreError(f"{shown} is missing; write the store again.") from None
        if checksum(raw) != entry["crc32c"]:
            raise CorruptStoreError(f"{shown} changed after it was written; write the store again.")
        values = np.frombuffer(raw, dtype=np.dtype(entry["dtype"]).newbyteorder("<"))
        arrays[name] = values.reshape(shape)
    return arrays


def head_digests(head: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Shape, type and checksum of each head array, for the attributes."""
    return {
        name: {
            "crc32c": checksum(raw_bytes(values)),
            "dtype": values.dtype.name,
            "shape": list(values.shape),
        }
        for name, values in sorted(head.items())
    }
