"""A claim on the place of a store that is written where it stays, so that two writers do not mix.

    .writing.json    the store that is being written, by which process, since when

It is made only where there is none, in one request: of two writers that begin at once, one has it.
Writers of the same store write the same bytes and share a claim, so that a run that was killed goes
on. Another store is refused until the claim is gone, or taken over by somebody who knows that its
writer is.
"""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import to_json_bytes
from ltood.store.disks import Disk, read_document

CLAIM = ".writing.json"
#: Lies in a target until a copy is whole, and names the store that is copied.
NOTE = ".copying"
#: Times that a claim is asked for while others come and go.
_ATTEMPTS = 5


@contextmanager
def claimed(disk: Disk, what: str, *, take_over: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a place for one store while the block writes it.

    Args:
        disk: The place.
        what: Digest of what decides the bytes of the store.
        take_over: Take the claim of another store, whose writer is known to have ended.

    Yields:
        What fails once another store has taken the place over; to be called before the last write.

    Raises:
        StoreError: If another store is being written there.
        TransferError: If the address refuses or cannot be reached.
    """
    path = disk.folder / CLAIM
    _take(disk, what, take_over=take_over)

    def check() -> None:
        found = _read(disk)
        if found and found.get("writes") != what:
            raise _taken(disk, found)

    try:
        yield check
    finally:
        if _read(disk).get("writes") == what:
            disk.remove(path)


def _take(disk: Disk, what: str, *, take_over: bool) -> None:
    path = disk.folder / CLAIM
    with suppress(FileNotFoundError):
        disk.read(disk.folder / NOTE)
        raise StoreError(
            f"{disk.show(disk.folder)} holds part of a copy of a store; finish it (`ltood store "
            "copy`), remove it or choose another address."
        )
    claim = {
        "writes": what,
        "host": platform.node(),
        "process": os.getpid(),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
    }
    found: dict[str, Any] = {}
    for _ in range(_ATTEMPTS):
        if disk.create(path, to_json_bytes(claim)):
            return
        found = _read(disk)
        if found.get("writes") == what:
            return
        if found and not take_over:
            break
        if found:
            disk.remove(path)
    raise _taken(disk, found)


def _read(disk: Disk) -> dict[str, Any]:
    """The claim that is there; nothing where there is none."""
    path = disk.folder / CLAIM
    try:
        found = read_document(disk, path, "remove it")
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise CorruptStoreError(f"{disk.show(path)} is not a claim; remove it.")
    return found


def _taken(disk: Disk, claim: dict[str, Any]) -> StoreError:
    who = ", ".join(f"{key} {claim[key]}" for key in ("host", "process", "since") if key in claim)
    return StoreError(
        f"{disk.show(disk.folder)} is being written by a run with other inputs ({who}); choose "
        "another address or wait for it. If that run was killed, take the place over with "
        "--take-over, in Python with take_over=True."
    )
