"""Images in Arrow and Parquet files, as the library `datasets` writes them; nothing is run.

An image is a struct of `bytes` and `path`, or plain bytes. Files are read as they are needed:
Arrow is mapped into memory, of Parquet a window of rows is kept. Class names come from the
metadata that `datasets` puts into the schema.
"""

import json
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ltood.core.errors import DataError, quoted
from ltood.runtime.extras import require

#: Rows of Parquet that are read together, and how many such batches are kept.
_BATCH, _KEPT = 256, 4
_LABELS = ("label", "labels", "class", "target")


@dataclass(frozen=True)
class Columns:
    """Columns of the images and of their classes.

    Attributes:
        image: Column of the image.
        is_struct: Whether it holds `bytes` and `path`, or bytes alone.
        label: Column of the class.
        names: Names of the classes by number; None where the column holds names or bare numbers.
    """

    image: str
    is_struct: bool
    label: str
    names: tuple[str, ...] | None

    @property
    def content(self) -> str:
        """The column of bytes."""
        return f"{self.image}.bytes" if self.is_struct else self.image


def image_column(schema: Any) -> str | None:  # noqa: ANN401 - a schema of pyarrow
    """Name of the first column that holds images, if there is one."""
    import pyarrow as arrow

    features = _features(schema)
    for field in schema:
        kind = field.type
        struct = arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        binary = arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)
        is_image = _kind(features.get(field.name)) == "Image"
        if struct or (binary and (is_image or field.name in ("image", "img"))):
            return str(field.name)
    return None


def columns_of(path: Path, label_column: str | None) -> Columns:
    """Columns of images and classes of one file.

    Raises:
        DataError: If there is no column of images or none of classes, or several may be it.
    """
    import pyarrow as arrow

    schema = read_schema(path)
    image, features = image_column(schema), _features(schema)
    shown = ", ".join(schema.names[:20])
    if image is None:
        raise DataError(f"{path} has no column of images; its columns are {shown}.")
    labels = [name for name in schema.names if _kind(features.get(name)) == "ClassLabel"]
    labels = labels or [name for name in schema.names if name in _LABELS]
    if label_column is not None:
        labels = [name for name in schema.names if name == label_column]
    if len(labels) != 1:
        what = "no column of classes" if not labels else f"{len(labels)} columns of classes"
        raise DataError(
            f"{path} has {what}; its columns are {shown}. Name one in datasets.folder.label_column."
        )
    names = (features.get(labels[0]) or {}).get("names")
    is_struct = arrow.types.is_struct(schema.field(image).type)
    return Columns(image, is_struct, labels[0], tuple(map(str, names)) if names else None)


def read_schema(path: Path) -> Any:  # noqa: ANN401 - a schema of pyarrow
    """Schema of an Arrow or Parquet file.

    Raises:
        DataError: If it is neither.
    """
    return _shard(path).schema()


class ImageTable:
    """Rows of several files with the same columns; a `Pack` of their images."""

    def __init__(self, paths: Sequence[Path], columns: Columns) -> None:
        """Take the files, in their order."""
        self._shards = [_shard(path) for path in paths]
        self._columns = columns
        self._ends: list[int] = []
        for shard in self._shards:
            self._ends.append((self._ends[-1] if self._ends else 0) + shard.num_rows)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Class and path of every row; "" where there is no path.

        Raises:
            DataError: If a row has no class.
        """
        columns = self._columns
        for shard in self._shards:
            for number, (label, path) in enumerate(shard.facts(columns)):
                yield _class(label, columns, f"row {number} of {shard.path}"), path or ""

    def read(self, number: int) -> bytes:
        """Bytes of one image file."""
        index = bisect_right(self._ends, number)
        row = number - (self._ends[index - 1] if index else 0)
        found = self._shards[index].content(row, self._columns)
        if not isinstance(found, bytes):
            raise DataError(
                f"row {row} of {self._shards[index].path} holds no image but at most its path; "
                "write the images into the file (`save_to_disk` does), or name a list of image "
                "files."
            )
        return found


class _Arrow:
    """An Arrow file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow as arrow

        self.path = path
        source = arrow.memory_map(str(path))
        try:
            self._table = arrow.ipc.open_stream(source).read_all()
        except arrow.ArrowInvalid:
            self._table = arrow.ipc.open_file(source).read_all()
        self.num_rows = self._table.num_rows

    def schema(self) -> Any:  # noqa: ANN401 - a schema of pyarrow
        return self._table.schema

    def facts(self, columns: Columns) -> Iterator[tuple[Any, str | None]]:
        wanted = self._table.select([columns.label, columns.image])
        for batch in wanted.to_batches(max_chunksize=_BATCH):
            yield from _facts(batch, columns)

    def content(self, row: int, columns: Columns) -> bytes | None:
        found = self._table.column(columns.image)[row]
        return _content(found, columns)


class _Parquet:
    """A Parquet file, of which a window of rows is kept."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.path = path
        self._file = parquet.ParquetFile(path)
        meta = self._file.metadata
        self.num_rows = meta.num_rows
        self._ends = [0]
        for group in range(meta.num_row_groups):
            self._ends.append(self._ends[-1] + meta.row_group(group).num_rows)
        self._lock = Lock()
        self._batches: deque[Any] = deque(maxlen=_KEPT)
        self._coming: Iterator[Any] = iter(())
        self._next = self.num_rows

    def schema(self) -> Any:  # noqa: ANN401 - a schema of pyarrow
        return self._file.schema_arrow

    def facts(self, columns: Columns) -> Iterator[tuple[Any, str | None]]:
        path = [f"{columns.image}.path"] if columns.is_struct else []
        for batch in self._file.iter_batches(_BATCH, columns=[columns.label, *path]):
            yield from _facts(batch, columns)

    def content(self, row: int, columns: Columns) -> bytes | None:
        with self._lock:
            first = self._next - sum(len(batch) for batch in self._batches)
            if not first <= row < self._next + _BATCH * _KEPT:
                group = bisect_right(self._ends, row) - 1
                groups = list(range(group, len(self._ends) - 1))
                self._coming = self._file.iter_batches(
                    _BATCH, row_groups=groups, columns=[columns.content]
                )
                self._batches.clear()
                self._next = self._ends[group]
            while row >= self._next:
                batch = next(self._coming)
                self._batches.append(batch)
                self._next += len(batch)
            start = self._next
            for batch in reversed(self._batches):
                start -= len(batch)
                if row >= start:
                    return _content(batch.column(0)[row - start], columns)
        raise AssertionError(row)


def _shard(path: Path) -> Any:  # noqa: ANN401 - one of two classes of the same methods
    require("pyarrow", f"reading {path}")
    import pyarrow as arrow

    try:
        return _Parquet(path) if path.suffix.lower() == ".parquet" else _Arrow(path)
    except (arrow.ArrowException, OSError) as error:
        start = path.read_bytes()[:100] if path.is_file() and path.stat().st_size < 1000 else b""
        pointer = " It is a pointer of Git LFS; run `git lfs pull`." if b"git-lfs" in start else ""
        raise DataError(
            f"{path} is not a readable Arrow or Parquet file ({' '.join(str(error).split())[:120]}"
            f"); write it again.{pointer}"
        ) from error


def _facts(batch: Any, columns: Columns) -> Iterator[tuple[Any, str | None]]:  # noqa: ANN401
    labels = batch.column(columns.label).to_pylist()
    paths: list[str | None] = [None] * len(labels)
    if columns.is_struct:
        struct = batch.column(columns.image)
        if struct.type.get_field_index("path") >= 0:
            paths = struct.field("path").to_pylist()
    return zip(labels, paths, strict=True)


def _content(found: Any, columns: Columns) -> bytes | None:  # noqa: ANN401 - a scalar of pyarrow
    if columns.is_struct and found.is_valid:
        found = found["bytes"]
    return found.as_py() if found.is_valid else None


def _class(label: Any, columns: Columns, where: str) -> str:  # noqa: ANN401 - any value
    if columns.names is not None and isinstance(label, int):
        if 0 <= label < len(columns.names):
            return columns.names[label]
    elif isinstance(label, int | str) and str(label).strip():
        return str(label).strip()
    raise DataError(
        f"{where} has the class {quoted(label)} in the column {columns.label}; give it one of its "
        "classes, or leave the row out."
    )


def _features(schema: Any) -> dict[str, Any]:  # noqa: ANN401 - a schema of pyarrow
    """What `datasets` says of the columns, by name."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind(feature: Any) -> str | None:  # noqa: ANN401 - any plain value
    return feature.get("_type") if isinstance(feature, dict) else None
