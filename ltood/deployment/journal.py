"""A file of rows that grows, and beside it a journal of the inputs it holds.

    verdicts.csv            rows, appended
    .verdicts.csv.journal   a line of JSON before and behind each group of rows

Before rows are written, the journal gets the length of the file; behind them, which inputs they
are. A run that was killed in between leaves a beginning without an end: the next one cuts the file
back to that length and judges these inputs again. So each input has its row once, whenever a
process dies. A torn last line of the journal is dropped.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.deployment.arrivals import Arrival
from ltood.deployment.output import Format, Lines
from ltood.deployment.verdicts import Verdict
from ltood.runtime.claims import claim

_KIND = "ltood journal"


class Journal:
    """Rows and their journal, open for one process at a time.

    Attributes:
        out: File of the rows.
        path: The journal.
        seen: Inputs that had rows when it was opened, by path, as they were seen last.
    """

    def __init__(
        self, out: Path, form: Format, columns: Sequence[str], made_by: dict[str, Any]
    ) -> None:
        """Open or begin both files, and mend what a killed run left.

        Args:
            out: File of the rows.
            form: "csv" or "jsonl".
            columns: Columns of a table.
            made_by: What the rows depend on; a file that was begun with something else is refused.

        Raises:
            StoreError: If another process writes it, it was begun otherwise, or it cannot be
                written.
            CorruptStoreError: If a file was shortened or the journal changed.
        """
        self.out, self.path = out, out.with_name(f".{out.name}.journal")
        self.seen: dict[str, Arrival] = {}
        self._length: int | None = None
        self._is_torn = False
        self._form, self._columns = form, columns
        self._head = {"kind": _KIND, "form": form, "columns": list(columns), **made_by}
        with ExitStack() as stack, self._naming_the_file():
            out.parent.mkdir(parents=True, exist_ok=True)
            self._journal = stack.enter_context(self.path.open("a+b", buffering=0))
            if not claim(self._journal):
                raise StoreError(f"another process writes {out}; stop it or name another file.")
            self._read()
            # Unbuffered: what did not fit on the disk must not be tried again on closing.
            self._rows = stack.enter_context(
                out.open("r+b" if out.exists() else "w+b", buffering=0)
            )
            self._mend()
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close both files."""
        self._open.close()

    def write(self, arrivals: Sequence[Arrival], rows: Iterable[Verdict]) -> Iterator[Verdict]:
        """Append the rows of some inputs, whole or not at all, and hand them on when they are safe.

        Args:
            arrivals: The inputs.
            rows: Their verdicts.

        Raises:
            StoreError: If they cannot be written, as on a full disk; the next run judges them.
        """
        text = io.StringIO(newline="")
        lines, written = Lines(text, self._form, self._columns), []
        for row in rows:
            lines.write(row)
            written.append(row)
        taken = [[one.path, one.size, one.changed] for one in arrivals]
        with self._naming_the_file():
            start = self._rows.seek(0, os.SEEK_END)
            self._note({"begin": start})
            _append(self._rows, text.getvalue().encode())
            self._note({"end": self._rows.tell(), "inputs": taken})
        yield from written

    def past_rows(self) -> Iterator[tuple[str, float | None]]:
        """Verdict and score of the rows that are in the file already, in their order."""
        with self.out.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file) if self._form == "csv" else map(json.loads, file)
            for row in rows:
                score = row["score"]
                yield row["verdict"], None if score in (None, "") else float(score)

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """Turn what the system says about a file into an error that names it."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write {error.filename or self.out}: {error.strerror or error}; free "
                "space, check the permissions or choose another path."
            ) from error

    def _note(self, entry: dict[str, Any]) -> None:
        _append(self._journal, json.dumps(entry).encode() + b"\n")

    def _read(self) -> None:
        """Take over what the journal says, and drop a torn last line."""
        heads, whole = [], 0
        try:
            for number, line in enumerate(io.BytesIO(self.path.read_bytes())):
                if not line.endswith(b"\n"):
                    self._journal.truncate(whole)
                    break
                whole += len(line)
                entry = json.loads(line)
                if number == 0:
                    heads.append(entry)
                    continue
                self._is_torn = "begin" in entry
                self._length = entry["begin" if self._is_torn else "end"]
                for path, size, changed in entry.get("inputs", ()):
                    self.seen[path] = Arrival(changed, path, size)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptStoreError(
                f"{self.path} was changed ({error}); delete it and {self.out} to judge all again."
            ) from error
        if not heads:
            if self.out.exists() and self.out.stat().st_size:
                raise StoreError(
                    f"{self.out} exists and was not begun by --watch; choose another file."
                )
            self._note(self._head)
        elif heads[0] != self._head:
            keys = {**heads[0], **self._head}
            wrong = next(key for key in keys if heads[0].get(key) != self._head.get(key))
            raise StoreError(
                f"{self.out} was begun with another {wrong}; choose another file, or move it and "
                f"{self.path.name} away."
            )

    def _mend(self) -> None:
        """Cut off rows of which the journal knows no end; begin a file that is not there."""
        size = self._rows.seek(0, os.SEEK_END)
        if self._length is None or size == 0:  # New, or moved away: rows go on in a new file.
            self._rows.truncate(0)
            self._rows.seek(0)
            text = io.StringIO(newline="")
            Lines(text, self._form, self._columns).start()
            _append(self._rows, text.getvalue().encode())
            self._note({"end": self._rows.tell(), "inputs": []})
        elif size < self._length:
            raise CorruptStoreError(
                f"{self.out} is shorter than when its last rows were written; move it away to go "
                f"on in a new file, or delete {self.path.name} too to judge all again."
            )
        elif self._is_torn:
            self._rows.truncate(self._length)


def _append(file: FileIO, content: bytes) -> None:
    """Write all of it, safe on the disk."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]
    os.fsync(file.fileno())
