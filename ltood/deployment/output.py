"""Verdicts as text: a CSV table or JSON lines, written row by row."""

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TextIO

from ltood.core.errors import StoreError
from ltood.deployment.predicting import COLUMNS, Verdict

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
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(verdict.cells() for verdict in verdicts)
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            write_rows(file, verdicts, form)
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another file."
        ) from error
    finally:
        if temporary.is_file():
            temporary.unlink()
