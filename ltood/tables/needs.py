"""Files that a table needs, and which of them are missing."""

import hashlib
from pathlib import Path

from ltood.core.errors import DataError
from ltood.runtime.console import log
from ltood.tables.makers import MAKERS
from ltood.tables.spec import FileNeed, Table

_BLOCK = 2**20


def missing_needs(table: Table, root: Path, *, make: bool = False) -> list[str]:
    """What is missing, one sentence each: the file, what is wrong with it, where it comes from."""
    found = []
    for need in table.needs:
        if make and need.make is not None:
            continue
        fault = _fault(need, root)
        if fault:
            found.append(f"{need.path} {fault}; it comes from {need.source}")
    return found


def refuse_missing(table: Table, root: Path, *, make: bool = False) -> None:
    """Refuse a table whose files are not there.

    Args:
        table: The table.
        root: Repository.
        make: Whether files that ltood can make itself are made where they are missing; they are
            refused like the others if not.

    Raises:
        DataError: With all of them.
    """
    found = missing_needs(table, root, make=make)
    if found:
        listed = ". ".join(found)
        raise DataError(
            f"table {table.name} needs {len(found)} files that are not there yet: {listed}."
        )
    if make:
        _make_missing(table, root)


def _make_missing(table: Table, root: Path) -> None:
    """Make the files that ltood can make itself and that are not there."""
    for need in table.needs:
        if need.make is not None and not (root / need.path).exists():
            log(f"{need.path} is missing and is made: {need.source}")
            MAKERS[need.make](root / need.path)


def _fault(need: FileNeed, root: Path) -> str | None:
    path = root / need.path
    if not path.exists():
        count = f" ({need.files:,} files)" if need.files else ""
        return f"is missing{count}"
    if need.files is not None:
        number = sum(1 for file in path.rglob("*") if file.is_file()) if path.is_dir() else 1
        if number < need.files:
            return f"holds {number:,} files, but {need.files:,} are needed"
    if need.sha256 is not None and path.is_file():
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        if digest.hexdigest() != need.sha256:
            return f"has SHA-256 {digest.hexdigest()[:12]}…, but {need.sha256[:12]}… is needed"
    return None
