"""Verdicts as a CSV table, JSON lines, Parquet or a table to read, written as they come."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, TextIO

from ltood.core.errors import ConfigError
from ltood.deployment.verdicts import SEPARATOR, Verdict
from ltood.runtime.console import one_line
from ltood.runtime.extras import require
from ltood.runtime.files import writing
from ltood.runtime.widths import padded, width

Format = Literal["csv", "jsonl", "parquet", "table"]
#: Formats by the ending of a file; CSV where there is none.
ENDINGS: dict[str, Format] = {
    "": "csv",
    ".csv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
#: Rows of a group of a Parquet file, and of a table to read whose columns are aligned.
_GROUP_ROWS, _TABLE_ROWS = 16384, 200
#: Columns of a table to read, with their headings.
_SHOWN = {
    "verdict": "verdict",
    "score": "score",
    "p_value": "p",
    "class": "class",
    "probability": "prob",
    "path": "path",
}
#: What makes a cell of a CSV table need quotes.
_QUOTE = '"'
_SPECIAL = frozenset(f",{_QUOTE}\r\n")
_NUMBERS = ("score", "p_value", "probability")
#: How columns of names begin, with a rank behind.
_NAMES = ("nearest_", "image_class_", *(f"image_{rank}" for rank in range(1, 10)))


def format_of(path: Path) -> Format:
    """The format that the ending of a file names.

    Raises:
        ConfigError: If it names none.
    """
    try:
        return ENDINGS[path.suffix.lower()]
    except KeyError:
        raise ConfigError(
            f"--out {path} does not say which format to write; end it in .csv, .jsonl or .parquet, "
            "or give --format."
        ) from None


class Lines:
    """Rows of a CSV table or of JSON lines, written one by one."""

    def __init__(self, file: TextIO, form: Format, columns: Sequence[str]) -> None:
        """Write to a text file.

        Args:
            file: Where the rows go.
            form: "csv" or "jsonl".
            columns: Columns of a CSV table; see `columns_of`.
        """
        self._file, self._form, self._columns = file, form, columns

    def start(self) -> None:
        """Write what stands above the rows, the header of a table."""
        if self._form == "csv":
            self._file.write(_csv_line(self._columns))

    def write(self, verdict: Verdict) -> None:
        """Write one row."""
        if self._form == "csv":
            values = verdict.values()
            self._file.write(_csv_line([_cell(name, values.get(name)) for name in self._columns]))
        else:
            text = json.dumps(verdict.record(), allow_nan=False, ensure_ascii=False)
            self._file.write(text + "\n")


def write_rows(
    file: TextIO, verdicts: Iterable[Verdict], form: Format, columns: Sequence[str]
) -> None:
    """Write one line per verdict, without gathering them first.

    Args:
        file: Text file to write to.
        verdicts: Rows.
        form: "csv" (with a header), "jsonl" or "table".
        columns: Columns of a CSV table; see `columns_of`.
    """
    rows = iter(verdicts)
    if form == "table":
        table = ShownTable(file)
        while part := list(islice(rows, _TABLE_ROWS)):
            table.write(part)
    else:
        first = list(islice(rows, 1))  # What is refused at once leaves no header behind.
        lines = Lines(file, form, columns)
        lines.start()
        for verdict in chain(first, rows):
            lines.write(verdict)
    file.flush()


def write_file(
    path: Path, verdicts: Iterable[Verdict], form: Format, columns: Sequence[str]
) -> None:
    """Write all rows to a file that appears when it is whole, replacing an older one.

    Args:
        path: File to write.
        verdicts: Rows.
        form: "csv", "jsonl" or "parquet".
        columns: Columns of a table; see `columns_of`.

    Raises:
        MissingPackageError: If Parquet is asked for and pyarrow is not installed.
        StoreError: If the file cannot be written.
    """
    if form == "parquet":
        require("pyarrow", str(path))
    with writing(path) as raw:
        if form == "parquet":
            _write_parquet(raw, iter(verdicts), columns)
            return
        file = io.TextIOWrapper(raw, "utf-8", newline="")
        write_rows(file, verdicts, form, columns)
        file.detach()


def _csv_line(cells: Iterable[str]) -> str:
    """A line of a CSV table; the csv module leaves carriage returns unquoted."""
    quoted = (
        f'"{cell.replace(_QUOTE, _QUOTE * 2)}"' if _SPECIAL.intersection(cell) else cell
        for cell in cells
    )
    return ",".join(quoted) + "\n"


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - of any column
    """A value as a CSV table holds it; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, list):
        return SEPARATOR.join(value)
    if isinstance(value, float):
        return f"{value:.4f}" if "cosine" in name else repr(value)
    return str(value)


class ShownTable:
    """A table for people: few columns, aligned among rows that are written together."""

    def __init__(self, file: TextIO) -> None:
        """Write to a text file."""
        self._file = file
        self._widths = {name: len(heading) for name, heading in _SHOWN.items()}
        self._heading: list[dict[str, str]] = [_SHOWN]

    def write(self, verdicts: Iterable[Verdict]) -> None:
        """Write rows, below a heading if they are the first."""
        rows = [_shown(verdict) for verdict in verdicts]
        if not rows:
            return
        for name in self._widths:
            self._widths[name] = max(self._widths[name], *(width(row[name]) for row in rows))
        for row in self._heading + rows:
            cells = [
                row[name].rjust(columns) if name in _NUMBERS else padded(row[name], columns)
                for name, columns in self._widths.items()
            ]
            self._file.write("  ".join(cells).rstrip() + "\n")
        self._file.flush()
        self._heading = []


def _shown(verdict: Verdict) -> dict[str, str]:
    """Cells of a table for people, by column."""
    values = verdict.values()
    cells = {
        name: f"{value:.4g}" if isinstance(value, float) else one_line(str(value or ""))
        for name in _SHOWN
        for value in (values.get(name),)
    }
    if verdict.id is not None:
        cells["path"] += f" id {verdict.id}"
    if verdict.reason is not None:
        # Most reasons begin with the path.
        reason = one_line(verdict.reason)
        is_named = reason.startswith(cells["path"])
        cells["path"] = reason if is_named else f"{cells['path']}: {reason}"
    return cells


def _write_parquet(file: IO[bytes], verdicts: Iterator[Verdict], columns: Sequence[str]) -> None:
    """One row group for each few thousand rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("path", "verdict", "class", "reason")
    kinds = {
        name: pa.int64()
        if name == "id"
        else pa.list_(pa.string())
        if name == "set"
        else pa.string()
        if name in texts or name.startswith(_NAMES)
        else pa.float64()
        for name in columns
    }
    schema = pa.schema(list(kinds.items()))
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows := [verdict.values() for verdict in islice(verdicts, _GROUP_ROWS)]:
            arrays = [
                pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()
            ]
            writer.write_batch(pa.record_batch(arrays, schema))
