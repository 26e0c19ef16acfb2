"""A store without rows: groups, array metadata and the head, made in one rename.

The only part of the store that needs Zarr itself; everything after it is plain files.
"""

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.runtime.files import write_atomically
from ltood.store.chunks import (
    ATTRIBUTE,
    HEAD_GROUP,
    chunk_path,
    raw_bytes,
    seal_root,
)
from ltood.store.layout import SCHEMA, ArraySpec, StoreSpec


def create_skeleton(
    path: Path, spec: StoreSpec, attributes: Mapping[str, Any], head: Mapping[str, NDArray[Any]]
) -> None:
    """Create a store with all metadata and the head but no rows, in one rename.

    Raises:
        StoreError: If `path` exists already or cannot be written.
    """
    import zarr

    if path.exists():
        raise StoreError(f"{path} exists already; choose another path or remove it first.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise StoreError(f"{path} could not be created ({error}).") from error
    try:
        content = {**attributes, "schema": SCHEMA, "splits": spec.to_json()}
        root = zarr.create_group(store=str(temporary), attributes={ATTRIBUTE: content})
        for name, split in sorted(spec.splits.items()):
            group = root.create_group(name)
            for key, array in sorted(split.arrays.items()):
                _create_array(group, key, (split.rows, *array.shape), spec.chunk_rows(name), array)
        if head:
            group = root.create_group(HEAD_GROUP)
            for key, values in sorted(head.items()):
                rows = values.shape[0] if values.ndim else None
                array = ArraySpec(values.dtype.name, values.shape[1:])
                _create_array(group, key, values.shape, rows, array)
                write_atomically(
                    chunk_path(temporary, HEAD_GROUP, key, 0, values.ndim), raw_bytes(values).data
                )
        with warnings.catch_warnings():
            # Readers without consolidated metadata fall back to the documents beside the arrays.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not")
            zarr.consolidate_metadata(str(temporary))
        seal_root(temporary, complete=False)
        temporary.chmod(0o755)
        temporary.rename(path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StoreError(f"{path} could not be created ({error}).") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


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
