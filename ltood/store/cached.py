"""A store behind an address, whose chunks are kept on this machine while there is room.

    ~/.cache/ltood/stores/<digest of the address>/<split>/<array>/c/<chunk>/0

Documents and markers are read from the address every time. A chunk that is here is used only if
its bytes have the checksum of its marker, so that a store that was replaced, and a copy that was
damaged, are noticed. The chunks used longest ago go first.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ltood.core.errors import ConfigError, CorruptStoreError, StoreError
from ltood.runtime.drivers import Driver
from ltood.runtime.files import Content, is_temporary, write_atomically
from ltood.runtime.in_flight import REQUESTS, each_of
from ltood.store.disks import make_way

#: Environment variables: folder of the cache, and its size.
FOLDER, SIZE = "LTOOD_CACHE", "LTOOD_CACHE_GIB"
_DEFAULT_GIB = 10.0
#: Share of the size that this process may add before it looks at what others have added.
_UNSEEN = 1 / 20
#: Age after which an unfinished copy is taken for one of a killed process.
_LEFT_SECONDS = 3600
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class CachedDisk:
    """Files behind an address, with copies of those that are brought as files."""

    is_near = False

    def __init__(self, address: str) -> None:
        """Take an address; nothing is reached before it is used.

        Raises:
            ConfigError: If the size of the cache is not a number above 0.
            MissingPackageError: If the package that speaks it is not installed.
            TransferError: If there is no such kind of address.
        """
        self._driver = Driver(address)
        self.address = self._driver.address
        self._cache = _cache()
        self.folder = self._cache.folder / hashlib.sha256(self.address.encode()).hexdigest()[:32]
        self._coming: dict[Path, Future[Path]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def show(self, path: Path) -> str:
        """The address of a file."""
        return self.address if path == self.folder else f"{self.address}/{self._name(path)}"

    def read(self, path: Path, limit: int | None = None) -> bytes:
        """Content of a file at the address."""
        content = self._driver.read(self._name(path), None if limit is None else limit + 1)
        if content is None:
            raise FileNotFoundError(self.show(path))
        if limit is not None and len(content) > limit:
            raise CorruptStoreError(
                f"{self.show(path)} has more than {limit:,} bytes, the limit for such a file."
            )
        return content

    def bring(self, path: Path, size: int) -> Path:
        """The copy of a file, made if need be."""
        coming = self._coming.pop(path, None)
        if coming is not None:
            coming.result()
        self._cache.use(path)
        return path if path.is_file() else self._fetch(path, size)

    def ahead(self, paths: Sequence[Path], size: int) -> None:
        """Begin to bring files."""
        for path in paths:
            if path not in self._coming and not path.is_file():
                self._pool = self._pool or ThreadPoolExecutor(REQUESTS, "ltood-ahead")
                self._coming[path] = self._pool.submit(self._fetch, path, size)

    def each(self, work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
        """Some at a time: each waits for the address most of the time."""
        return each_of(work, items)

    def drop(self, path: Path) -> bool:
        """Remove a copy; the file at the address may be another one."""
        with suppress(OSError):
            make_way(path)
            path.unlink()
        return True

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Bytes of all files below a folder, from one list."""
        found = self._driver.sizes(self._name(folder))
        return {self.folder / name: size for name, size in found.items()}

    def write(self, path: Path, data: Content) -> None:
        """Write a file at the address; a copy of what was there goes."""
        self.drop(path)
        self._driver.write(self._name(path), bytes(data))

    def create(self, path: Path, data: Content) -> bool:
        """Write a file at the address if there is none."""
        return self._driver.create(self._name(path), bytes(data))

    def remove(self, path: Path) -> None:
        """Remove a file at the address."""
        self.drop(path)
        self._driver.remove(self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _fetch(self, path: Path, size: int) -> Path:
        # One byte more shows that a file is too long, whatever its length.
        content = self._driver.read(self._name(path), size + 1)
        if content is None:
            raise FileNotFoundError(self.show(path))
        try:
            make_way(path)
            write_atomically(path, content, sweep=False)
        except (OSError, StoreError) as error:
            raise StoreError(
                f"{str(error).rstrip('.')}. This is a copy in the cache; {FOLDER} takes another "
                f"folder for it, and {SIZE} its size."
            ) from error
        self._cache.added(path, len(content))
        return path


class _Cache:
    """A folder of copies that never grows far beyond its size; processes may share it."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._used: dict[Path, int] = {}
        self._held: int | None = None
        self._unseen = 0
        self._lock = threading.Lock()

    def use(self, path: Path) -> None:
        """Note that a file is in use now, for this process and once for others."""
        now = time.time_ns()
        with self._lock:
            first = path not in self._used
            self._used[path] = now
        if first:
            with suppress(OSError):
                os.utime(path, ns=(now, now))

    def added(self, path: Path, size: int) -> None:
        """Note a new file, and remove those used longest ago where it is too much."""
        with self._lock:
            self._used[path] = time.time_ns()
            self._unseen += size
            held = None if self._held is None else self._held + self._unseen
            if held is None or held > self.limit or self._unseen > self.limit * _UNSEEN:
                self._held, self._unseen = self._make_room(path), 0

    def _make_room(self, new: Path) -> int:
        """Bytes of all files that are left."""
        found = []
        for path in self.folder.rglob("*"):
            with suppress(OSError):
                state = path.lstat()
                if not stat.S_ISREG(state.st_mode):
                    continue
                if not is_temporary(path.name):
                    used = self._used.get(path, state.st_mtime_ns)
                    found.append((used, state.st_size, path))
                elif time.time() - state.st_mtime > _LEFT_SECONDS:
                    path.unlink()  # Of a process that was killed while it wrote.
        held = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if held <= self.limit:
                break
            # Who has mapped a file goes on reading it; Windows refuses, and the file stays.
            if path != new:
                with suppress(OSError):
                    path.unlink()
                    held -= size
                    self._used.pop(path, None)
        return held


_caches: dict[tuple[Path, int], _Cache] = {}


def _cache() -> _Cache:
    """The cache of this process, as the environment has it.

    Raises:
        ConfigError: If its size is not a number above 0.
    """
    given = os.environ.get(SIZE, "")
    try:
        size = float(given or _DEFAULT_GIB)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise ConfigError(
            f"{SIZE} is {given!r}; give the size of the cache in GiB, a number above 0."
        )
    base = os.environ.get(FOLDER) or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # A folder of its own: whatever else lies beside it is never removed.
    place = Path(base).absolute() / "ltood" / "stores"
    key = (place, int(size * 2**30))
    return _caches.setdefault(key, _Cache(*key))
