"""Who runs a cell: a lock that holds between processes of one machine and between machines.

On one machine the system's lock decides, which ends with its process, however that ends. Between
machines that lock may not be seen (network file systems), so that the holder also touches the file
every few seconds: what another machine has not touched for two minutes is free. Where not even
that can be told apart, two machines may run one cell at once; both get the same result.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ltood.runtime.claims import claim

BEAT_SECONDS = 20.0
STALE_SECONDS = 120.0


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Hold a cell while the block runs.

    Args:
        path: Its file; folders are made.

    Yields:
        Whether it could be had.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _claimed(file) or held_elsewhere(path):
            yield False
            return
        file.truncate(0)
        file.write(f"{os.uname().nodename} {os.getpid()}\n".encode())
        file.flush()
        done = threading.Event()
        beating = threading.Thread(target=_beat, args=(path, done), daemon=True)
        beating.start()
        try:
            yield True
        finally:
            done.set()
            beating.join()
            file.truncate(0)


def is_held(path: Path) -> bool:
    """Whether another process holds a cell, here or on another machine."""
    if not path.exists():
        return False
    with path.open("a+b") as file:
        return not _claimed(file) or held_elsewhere(path)


def held_elsewhere(path: Path) -> bool:
    """Whether another machine has touched the file of a cell lately."""
    host = path.read_bytes().split(b" ")[0].decode(errors="replace")
    if not host or host == os.uname().nodename:
        return False
    # The clock of the file system, which both machines see, and not that of either.
    probe = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    probe.touch()
    try:
        age = probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink()
    return abs(age) < STALE_SECONDS  # It is negative where the clock was put back.


def _claimed(file: IO[bytes]) -> bool:
    try:
        return claim(file)
    except OSError:  # A file system without locks.
        return True


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:  # It comes back, or the run fails by itself.
            time.sleep(0)
