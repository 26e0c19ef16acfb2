"""Rows of a table of pictures, one by one, from CSV, JSON lines or Parquet.

Nothing is held but a row at a time (of Parquet a batch), so a list may have millions.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ltood.core.errors import DataError, quoted
from ltood.runtime.extras import require

if TYPE_CHECKING:
    from _csv import Reader

#: Endings of tables that are read.
TABLES = (".csv", ".jsonl", ".parquet")
_BATCH = 4096


def table_rows(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    *,
    optional: Sequence[str] = (),
    remedy: str,
) -> Iterator[tuple[int, list[str]]]:
    """Cells of some columns, as text.

    Args:
        path: The table; its ending says what it is, and what has another one is CSV.
        columns: Names that each wanted column may have, by its usual name.
        optional: Columns that may be missing.
        remedy: What to do if the table is unusable.

    Yields:
        Number of the line (of Parquet the row, from 1), and its cells, "" where there are none.

    Raises:
        DataError: If the table is missing, unreadable, or lacks a column.
        MissingPackageError: If it is Parquet and pyarrow is not installed.
    """
    if not path.is_file():
        # A device or a pipe might never end.
        raise DataError(
            f"the list {path} cannot be read: it is missing or not a regular file; {remedy}."
        )
    readers = {".jsonl": _json_lines, ".parquet": _parquet}
    read = readers.get(path.suffix.lower(), _csv)
    try:
        yield from read(path, columns, optional, remedy)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the list {path} cannot be read ({error}); {remedy}.") from error


def column_names(path: Path) -> tuple[str, ...]:
    """Names of the columns of a table, of JSON lines those of its first line; () if unreadable."""
    try:
        if path.suffix.lower() == ".parquet":
            require("pyarrow", f"reading {path}")
            from pyarrow import parquet

            return tuple(parquet.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                first = json.loads(file.readline())
                return tuple(first) if isinstance(first, dict) else ()
            return tuple(name.strip() for name in next(_cells(file), []))
    except (OSError, ValueError, csv.Error, RecursionError):
        return ()


def _cells(file: TextIO) -> "Reader":
    """Rows of a table, parted by a comma, a semicolon or a tab: what the head has most."""
    head = file.readline()
    file.seek(0)
    return csv.reader(file, delimiter=max(",;\t", key=head.count))


def _csv(
    path: Path, columns: Mapping[str, Sequence[str]], optional: Sequence[str], remedy: str
) -> Iterator[tuple[int, list[str]]]:
    # Without the mark that editors of Windows put in front.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = _cells(file)
        head = [name.strip() for name in next(reader, [])]
        places = _places(path, head, columns, optional, remedy) if head else []
        for cells in reader:
            if cells:
                yield (
                    reader.line_num,
                    [cells[at] if at is not None and at < len(cells) else "" for at in places],
                )


def _json_lines(
    path: Path, columns: Mapping[str, Sequence[str]], optional: Sequence[str], remedy: str
) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"line {number} of {path} is not JSON; {remedy}.") from error
            if not isinstance(row, dict):
                raise DataError(f"line {number} of {path} is not a JSON object; {remedy}.")
            head = list(row)
            places = _places(path, head, columns, optional, remedy)
            yield number, ["" if at is None else _text(row[head[at]]) for at in places]


def _parquet(
    path: Path, columns: Mapping[str, Sequence[str]], optional: Sequence[str], remedy: str
) -> Iterator[tuple[int, list[str]]]:
    require("pyarrow", f"reading {path}")
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            head = list(file.schema_arrow.names)
            places = _places(path, head, columns, optional, remedy)
            wanted = [head[at] for at in places if at is not None]
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                found = [
                    [""] * len(batch) if at is None else batch.column(head[at]).to_pylist()
                    for at in places
                ]
                for cells in zip(*found, strict=True):
                    number += 1
                    yield number, [_text(cell) for cell in cells]
    except arrow.ArrowException as error:
        raise DataError(f"the list {path} is not readable Parquet ({error}); {remedy}.") from error


def _places(
    path: Path,
    head: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    optional: Sequence[str],
    remedy: str,
) -> list[int | None]:
    """Where each wanted column is; None for those that may be missing and are."""
    places: list[int | None] = []
    for column, names in columns.items():
        found = [at for at, name in enumerate(head) if name in names]
        if not found and column not in optional:
            raise DataError(
                f"the first line of {path} lacks the column {column}; it must name "
                f"{' and '.join(name for name in columns if name not in optional)}, separated by "
                f"commas in CSV, and is {quoted(','.join(head))}; {remedy}."
            )
        if len(found) > 1:
            raise DataError(
                f"{path} has {len(found)} columns for {column} "
                f"({', '.join(head[at] for at in found)}); leave one of them; {remedy}."
            )
        places.append(found[0] if found else None)
    return places


def _text(cell: Any) -> str:  # noqa: ANN401 - any value of a table
    return "" if cell is None else str(cell)
