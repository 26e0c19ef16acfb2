"""A store without rows: groups, array metadata and the head.

The only part of the store that needs Zarr itself; everything after it is plain files.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.runtime.drivers import refuse_address
from ltood.runtime.files import building_folder, write_atomically
from ltood.store import head as heads
from ltood.store.chunks import chunk_path, raw_bytes
from ltood.store.layout import SCHEMA, ArraySpec, StoreSpec
from ltood.store.metadata import ATTRIBUTE, fingerprint, seal_root


def complete_attributes(spec: StoreSpec, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a store with its schema, its splits and the fingerprint over all of them.

    Args:
        spec: Splits, each with a fingerprint.
        attributes: Everything else.
    """
    content = {**attributes, "schema": SCHEMA, "splits": spec.to_json()}
    return {**content, "fingerprint": fingerprint(content)}


def create_skeleton(
    path: Path, spec: StoreSpec, attributes: Mapping[str, Any], head: Mapping[str, NDArray[Any]]
) -> None:
    """Create a store with all metadata and the head but no rows, in one rename.

    Raises:
        StoreError: If `path` exists already, is an address or cannot be written.
    """
    if refuse_address(path).exists():
        raise StoreError(f"{path} exists already; choose another path or remove it first.")
    with building_folder(path, overwrite=False) as building:
        fill_skeleton(building, spec, attributes, head)


def fill_skeleton(
    folder: Path, spec: StoreSpec, attributes: Mapping[str, Any], head: Mapping[str, NDArray[Any]]
) -> None:
    """Write all metadata and the head of a store to an empty folder.

    Args:
        folder: The empty folder.
        spec: Splits, each with a fingerprint.
        attributes: As `complete_attributes` gives them.
        head: Arrays of the head by name; may be empty.
    """
    import zarr

    root = zarr.create_group(store=str(folder), attributes={ATTRIBUTE: dict(attributes)})
    for name, split in sorted(spec.splits.items()):
        group = root.create_group(name)
        for key, array in sorted(split.arrays.items()):
            _create_array(group, key, (split.rows, *array.shape), spec.chunk_rows(name), array)
    if head:
        group = root.create_group(heads.GROUP)
        for key, values in sorted(head.items()):
            rows = values.shape[0] if values.ndim else None
            array = ArraySpec(values.dtype.name, values.shape[1:])
            _create_array(group, key, values.shape, rows, array)
            path = chunk_path(folder / heads.GROUP, key, 0, values.ndim)
            write_atomically(path, raw_bytes(values).data, sweep=False)
    with warnings.catch_warnings():
        # Readers without consolidated metadata fall back to the documents of the arrays.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not")
        zarr.consolidate_metadata(str(folder))
    seal_root(folder, complete=False)


def _create_array(
    group: Any,  # noqa: ANN401 - zarr is imported late
    name: str,
    shape: tuple[int, ...],
    chunk_rows: int | None,
    array: ArraySpec,
) -> None:
    group.create_array(
        name,
        shape=shape,
        chunks=() if chunk_rows is None else (chunk_rows, *array.shape),
        dtype=array.dtype,
        compressors=None,
        fill_value=array.fill_value,
    )
