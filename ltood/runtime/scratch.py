"""Folders for what a process needs while it runs, in the system's folder of temporary files.

A process that is killed cannot remove its folder. Each is locked for as long as its process
lives, so that the next one of us removes those whose lock is free.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ltood.runtime.files import MACHINE

_PREFIX, _SUFFIX = f"ltood-{MACHINE}-", ".tmp"
#: Folders that are made before a system counts as one without locks.
_TRIES = 5


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder of this process alone, which is gone when the block ends."""
    sweep_scratch()
    path, lock = _made()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep_scratch() -> None:
    """Remove scratch folders of processes that have ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*{_SUFFIX}"):
        lock = _locked(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _made() -> tuple[Path, int | None]:
    """A new folder, and its lock where the system has locks."""
    for _ in range(_TRIES):
        path = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX))
        lock = _locked(path)
        # Between the two calls another process may have taken it for one that was left.
        if lock is not None and path.exists():
            return path, lock
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    # By a name that is not looked for: nothing would tell that it is in use.
    return Path(tempfile.mkdtemp(_SUFFIX, "ltood-")), None


def _locked(path: Path) -> int | None:
    """Lock a folder; None where another process holds it, or that cannot be told."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return lock
    return None
