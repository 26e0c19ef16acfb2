"""Files that one process at a time may write."""

from pathlib import Path
from typing import IO


def claim(file: IO[bytes]) -> bool:
    """Lock an open file for this process until it is closed.

    Returns:
        Whether it could be had; on Windows always, where two at once are left to the user.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether another process holds a file, here or in what it started."""
    try:
        with path.open("r+b") as file:
            return not claim(file)
    except OSError:  # No such file, or a file system without locks.
        return False
