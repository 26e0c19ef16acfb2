"""Verdicts as text: a CSV table or JSON lines, written row by row."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TextIO

from ltood.deployment.verdicts import COLUMNS, Verdict
from ltood.runtime.files import writing

Format = Literal["csv", "jsonl"]


def write_rows(file: TextIO, verdicts: Iterable[Verdict], form: Format) -> None:
    """Write one line per verdict, without gathering them first.

    Args:
        file: Text file to write to.
        verdicts: Rows.
        form: "csv" (with a header) or "jsonl".
    """
    if form == "jsonl":
        for verdict in verdicts:
            file.write(json.dumps(verdict.record(), allow_nan=False, ensure_ascii=False) + "\n")
    else:
        rows = iter(verdicts)
        first = next(rows, None)  # What is refused at once leaves no header behind.
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS if first is None else first.columns)
        table.writerows(() if first is None else (first.cells(),))
        table.writerows(verdict.cells() for verdict in rows)
    file.flush()


def write_file(path: Path, verdicts: Iterable[Verdict], form: Format) -> None:
    """Write all rows to a file that appears when it is whole, replacing an older one.

    Args:
        path: File to write.
        verdicts: Rows.
        form: "csv" or "jsonl".

    Raises:
        StoreError: If the file cannot be written.
    """
    with writing(path) as raw:
        file = io.TextIOWrapper(raw, "utf-8", newline="")
        write_rows(file, verdicts, form)
        file.detach()
