"""SHA-256 of many files, each read again only once it has changed.

Digests are remembered in a small SQLite database by path, size, times in nanoseconds and inode.
The time of change counts as well as that of modification, so that a file put back with its old time
is read again. A file that changed within the last seconds is not remembered: another change in
the same tick of the file system's clock would not show.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ltood.core.errors import DataError
from ltood.runtime.console import progress

_TABLES = (
    """create table if not exists files (
    folder text, name text, size integer, modified integer, changed integer, inode integer,
    sha256 blob, primary key (folder, name)) without rowid""",
    """create table if not exists notes (
    about text, sha256 blob, value integer, primary key (about, sha256)) without rowid""",
)
#: Nanoseconds for which a changed file is not remembered; FAT counts in steps of two seconds.
_TICK = 2_000_000_000
#: Files that are read before their digests are saved.
_BLOCK = 512
#: Bytes of a SHA-256.
_DIGEST = 32
_Found = TypeVar("_Found")


class _State(NamedTuple):
    """Metadata of a file; it differs if the file may have changed."""

    size: int
    modified: int
    changed: int
    inode: int


class FileHashes:
    """Digests of files, remembered in a database that may be removed at any time.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.txt").write_bytes(b"abc")
        ...     digest = FileHashes(Path(folder) / "known.sqlite").digest(Path(folder) / "a.txt")
        >>> digest[:8]
        'ba7816bf'
    """

    def __init__(self, database: Path) -> None:
        """Take where to remember.

        Args:
            database: File that is made if missing and replaced if it is damaged.
        """
        self._database = database

    def digests(self, root: Path, paths: Sequence[str]) -> list[bytes]:
        """SHA-256 of files, in the order given.

        Args:
            root: Folder that the paths start from.
            paths: Paths with forward slashes.

        Returns:
            32 bytes for each path.

        Raises:
            DataError: If one is missing, unreadable or no regular file, or changes meanwhile.
        """
        base = os.path.abspath(root)  # noqa: PTH100 - many joins of plain text follow
        return self._asked(lambda database: self._digests(database, base, paths))

    def _digests(
        self, database: sqlite3.Connection, base: str, paths: Sequence[str]
    ) -> list[bytes]:
        """What `digests` gives, with an open database."""
        found: list[bytes | None] = [None] * len(paths)
        pending: list[tuple[int, str, str, _State]] = []
        for folder, rows in _by_folder(paths).items():
            where = f"{base}/{folder}" if folder else base
            known = {
                name: (_State(*state), digest)
                for name, *state, digest in database.execute(
                    "select name, size, modified, changed, inode, sha256 from files "
                    "where folder = ?",
                    (_key(where),),
                )
                if isinstance(digest, bytes) and len(digest) == _DIGEST
            }
            for row in rows:
                name = paths[row][len(folder) + 1 :] if folder else paths[row]
                state = _state(f"{where}/{name}")
                before = known.get(_key(name))
                if before is not None and before[0] == state:
                    found[row] = before[1]
                else:
                    pending.append((row, where, name, state))
        for row, digest in self._read(database, pending):
            found[row] = digest
        return [digest for digest in found if digest is not None]

    def digest(self, path: Path) -> str:
        """SHA-256 of one file as hexadecimal digits; see `digests`."""
        return self.digests(path.parent, [path.name])[0].hex()

    def notes(self, about: str, digests: Sequence[bytes]) -> dict[bytes, int]:
        """Recorded notes about contents, by digest.

        Args:
            about: What was found out, and by which code.
            digests: SHA-256 of the contents.
        """

        def ask(database: sqlite3.Connection) -> dict[bytes, int]:
            found: dict[bytes, int] = {}
            for start in range(0, len(digests), _BLOCK):
                block = digests[start : start + _BLOCK]
                marks = ", ".join("?" * len(block))
                query = f"select sha256, value from notes where about = ? and sha256 in ({marks})"
                found.update(database.execute(query, (about, *block)))
            return found

        return self._asked(ask)

    def remember(self, about: str, values: Mapping[bytes, int]) -> None:
        """Keep what was found out about contents.

        Args:
            about: As `notes` takes it.
            values: By SHA-256 of the contents.
        """
        rows: Iterable[tuple[str, bytes, int]] = ((about, *item) for item in values.items())
        with (
            contextlib.closing(self._connect()) as database,
            contextlib.suppress(sqlite3.Error),
            database,
        ):
            database.executemany("insert or replace into notes values (?, ?, ?)", rows)

    def _read(
        self, database: sqlite3.Connection, pending: Sequence[tuple[int, str, str, _State]]
    ) -> Iterator[tuple[int, bytes]]:
        """Digests of files that are new or have changed, remembered block by block."""
        if not pending:
            return
        with (
            ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool,
            progress("hash files", len(pending), "files") as advance,
        ):
            for start in range(0, len(pending), _BLOCK):
                block = pending[start : start + _BLOCK]
                digests = list(pool.map(_hashed, block))
                settled = time.time_ns() - _TICK
                rows = [
                    (_key(folder), _key(name), *state, digest)
                    for (_, folder, name, state), digest in zip(block, digests, strict=True)
                    if max(state.modified, state.changed) < settled
                ]
                # To remember is a convenience: a full disk or a reader that waits too long costs
                # nothing but the next reading.
                with contextlib.suppress(sqlite3.Error), database:
                    database.executemany(
                        "insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", rows
                    )
                yield from zip((row for row, *_ in block), digests, strict=True)
                advance(len(block))

    def _asked(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        """What `work` finds in the database, or in an empty one where this one is damaged."""
        try:
            with contextlib.closing(self._connect()) as database:
                return work(database)
        except sqlite3.DatabaseError as error:
            # Locked, for instance. Text that is not UTF-8 has no code.
            busy = isinstance(error, sqlite3.OperationalError) and hasattr(
                error, "sqlite_errorcode"
            )
            fresh = ":memory:" if busy else str(self._database)
            if not busy:
                self._database.unlink(missing_ok=True)
        with contextlib.closing(_with_table(fresh)) as database:
            return work(database)

    def _connect(self) -> sqlite3.Connection:
        try:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            return _with_table(str(self._database))
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # Locked, or it cannot be written.
                return _with_table(":memory:")
            self._database.unlink()
            return _with_table(str(self._database))
        except OSError:
            return _with_table(":memory:")


def _with_table(where: str) -> sqlite3.Connection:
    connection = sqlite3.connect(where, timeout=60)
    try:
        for table in _TABLES:
            connection.execute(table)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _by_folder(paths: Sequence[str]) -> dict[str, list[int]]:
    """Rows of the paths by their folder, whatever order a list names them in."""
    found: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        found.setdefault(path.rpartition("/")[0], []).append(row)
    return found


def _key(name: str) -> str | bytes:
    """A name as the database can hold it: as bytes where they are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _state(path: str) -> _State:
    try:
        found = os.stat(path)  # noqa: PTH116 - Path costs more than the call, a million times
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); put the file there or correct "
            "the path."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} is not a regular file; name a file of images or a list.")
    return _State(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _hashed(task: tuple[int, str, str, _State]) -> bytes:
    """Digest of a file that is still what was listed when it has been read."""
    _, folder, name, state = task
    path = Path(folder, name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); fix its permissions or put the "
            "file back."
        ) from error
    if _state(str(path)) != state:
        raise DataError(f"{path} changed while it was read; run the command again.")
    return digest
