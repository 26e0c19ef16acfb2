"""Columns of Parquet files, Arrow files and Hugging Face data sets."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.runtime.extras import require
from ltood.store.tables import Lazy, damaged

#: Rows of Parquet that are read at once.
_PARQUET_ROWS = 1024


def parquet_columns(path: Path, _: str) -> dict[str, Lazy]:
    """Columns of a Parquet file, read from its beginning on.

    Raises:
        DataError: If it is damaged or empty.
        MissingPackageError: If pyarrow is not installed.
    """
    module = _imported("pyarrow.parquet", path)
    try:
        file = module.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise damaged(path, "Parquet file", error) from None
    rows = file.metadata.num_rows
    found = {}
    for name in file.schema_arrow.names:
        first = next(file.iter_batches(1, columns=[name]), None)
        if first is None:
            raise DataError(f"{path} has no rows; leave it out or give it rows.")
        try:
            example = _from_arrow(path, name, first.column(0))
        except DataError as fault:
            found[name] = Lazy.unreadable(fault)
            continue

        def stream(sizes: Sequence[int], name: str = name) -> Iterator[NDArray[Any]]:
            batches = file.iter_batches(_PARQUET_ROWS, columns=[name])
            return _recut((_from_arrow(path, name, batch.column(0)) for batch in batches), sizes)

        def read(start: int, stop: int, stream: Any = stream) -> NDArray[Any]:  # noqa: ANN401
            before = [start] if start else []
            return list(stream([*before, stop - start]))[-1]  # type: ignore[no-any-return]

        found[name] = Lazy((rows, *example.shape[1:]), example.dtype, read, stream)
    return _renamed(found) if b"ltood" in (file.metadata.metadata or {}) else found


def _renamed(columns: dict[str, Lazy]) -> dict[str, Lazy]:
    """Columns of a file that `ltood export` wrote, by the names that an import reads."""
    named = {"label": ("labels", "sc_label"), "id": ("ids",)}
    return {to: array for name, array in columns.items() for to in named.get(name, (name,))}


def arrow_columns(path: Path, _: str) -> dict[str, Lazy]:
    """Columns of an Arrow file or stream, memory-mapped.

    Raises:
        DataError: If it is damaged or empty.
        MissingPackageError: If pyarrow is not installed.
    """
    module = _imported("pyarrow", path)
    try:
        source = module.memory_map(str(path))
        try:
            table = module.ipc.open_file(source).read_all()
        except module.ArrowInvalid:
            source.seek(0)
            table = module.ipc.open_stream(source).read_all()
    except (OSError, ValueError) as error:
        raise damaged(path, "Arrow file", error) from None
    return _of_arrow(path, table)


def data_set_columns(path: Path) -> dict[str, Lazy]:
    """Columns of a data set that Hugging Face's `save_to_disk` wrote.

    Raises:
        DataError: If the folder is something else, or empty.
        MissingPackageError: If datasets is not installed.
    """
    if not (path / "state.json").is_file():
        raise DataError(
            f"{path} is a folder but not a data set of Hugging Face, which save_to_disk writes."
        )
    module = _imported("datasets", path)
    dataset = module.load_from_disk(str(path)).with_format("arrow")
    return _of_arrow(path, dataset)


def _of_arrow(path: Path, table: Any) -> dict[str, Lazy]:  # noqa: ANN401
    """Columns of an Arrow table, or of a data set that gives such tables for slices."""
    if len(table) == 0:
        raise DataError(f"{path} has no rows; leave it out or give it rows.")
    found = {}
    for name in table.column_names:

        def read(start: int, stop: int, name: str = name) -> NDArray[Any]:
            # A data set gives a table of the rows that its own selection leaves.
            whole = hasattr(table, "slice")
            sliced = table.slice(start, stop - start) if whole else table[start:stop]
            parts = [_from_arrow(path, name, part) for part in sliced.column(name).chunks]
            return np.concatenate(parts)

        try:
            example = read(0, 1)
        except DataError as fault:
            found[name] = Lazy.unreadable(fault)
            continue
        found[name] = Lazy((len(table), *example.shape[1:]), example.dtype, read)
    return found


def _from_arrow(path: Path, name: str, column: Any) -> NDArray[Any]:  # noqa: ANN401
    """One chunk of a column as an array; lists become its further dimensions."""
    rows, sizes = len(column), list[int]()
    flat = getattr(column, "storage", column)
    while "list" in str(flat.type):
        _refuse_nulls(path, name, flat)
        outer, offsets = len(flat), getattr(flat, "offsets", None)
        lengths = None if offsets is None else np.diff(offsets.to_numpy())
        flat = flat.flatten()
        sizes.append(len(flat) // outer)
        if lengths is not None and (lengths != sizes[-1]).any():
            raise DataError(f"{path}: {name} has lists of different lengths; all need one length.")
    _refuse_nulls(path, name, flat)
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    if values.dtype == object:
        values = values.astype(np.str_)
    return values.reshape(rows, *sizes)


def _refuse_nulls(path: Path, name: str, column: Any) -> None:  # noqa: ANN401
    if column.null_count:
        raise DataError(f"{path}: {name} has rows without a value; fill them in or remove them.")


def _recut(blocks: Iterator[NDArray[Any]], sizes: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Row blocks of other sizes."""
    held: list[NDArray[Any]] = []
    for size in sizes:
        while sum(map(len, held)) < size:
            held.append(next(blocks))
        whole = np.concatenate(held)
        yield whole[:size]
        held = [whole[size:]]


def _imported(module: str, path: Path) -> Any:  # noqa: ANN401
    require(module.partition(".")[0], str(path))
    return importlib.import_module(module)
