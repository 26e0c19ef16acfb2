"""Room for arrays that may not fit into memory: large ones lie in a file that has no name.

The system keeps as much of such a file in memory as there is to spare, writes the rest to disk and
reads it again when it is asked for; the numbers are the same. The file loses its name before
anything is written, so that a process that is killed leaves nothing. Its space is taken first,
because a full disk under a mapping would end the process without a word. A GPU has no such
memory: there an array fits or is refused.
"""

import errno
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import torch

from ltood.core.errors import ConfigError, StoreError

#: Environment variables: the largest array in GiB that is held in memory, and the folder of others.
LIMIT, FOLDER = "LTOOD_IN_MEMORY_GIB", "LTOOD_SCRATCH"
DEFAULT_GIB = 1.0

_BLOCK = bytes(2**20)


def room_for(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device, what: str
) -> torch.Tensor:
    """A new tensor, to be filled, that takes no memory for good where it is large.

    Args:
        shape: Its shape.
        dtype: Its number format.
        device: Where it lies.
        what: What it will hold, for messages: "the training features".

    Raises:
        ConfigError: If it does not fit into a GPU, or `LTOOD_IN_MEMORY_GIB` is not a number.
        StoreError: If it is large and no folder has room for it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= in_memory_bytes():
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    if device.type != "cpu":
        _refuse_on_gpu(size, device, what)
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    flat = torch.frombuffer(_mapped(size, what), dtype=dtype, count=math.prod(shape))
    return flat.view(tuple(shape))


def in_memory_bytes() -> float:
    """Bytes of the largest array that is held in memory.

    Raises:
        ConfigError: If `LTOOD_IN_MEMORY_GIB` is not a number from 0.
    """
    text = os.environ.get(LIMIT, "")
    try:
        gib = float(text or DEFAULT_GIB)
    except ValueError:
        gib = math.nan
    if not gib >= 0:
        raise ConfigError(
            f"the environment variable {LIMIT} is {text!r}; set it to GiB of memory that one array "
            f"may take, such as {DEFAULT_GIB:g}, or to nothing."
        )
    return gib * 2**30


def places() -> str:
    """Which arrays lie where, or what is wrong with the variables that say so, for people."""
    try:
        limit = in_memory_bytes() / 2**30
    except ConfigError as error:
        return str(error)
    free = [
        f"{folder} ({shutil.disk_usage(folder).free / 2**30:.0f} GiB free)"
        for folder in _folders()
        if folder.is_dir()
    ]
    where = f"in files in {' or '.join(free)}" if free else f"nowhere; set {FOLDER} to a folder"
    return f"above {limit:g} GiB ({LIMIT}) lie {where}"


def _refuse_on_gpu(size: int, device: torch.device, what: str) -> None:
    """Refuse what is larger than the memory of a GPU that is free or that torch keeps unused."""
    if not torch.cuda.is_available():
        return
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if size > free + kept:
        raise ConfigError(
            f"{what} take {size / 2**30:.1f} GiB, but {device} has {(free + kept) / 2**30:.1f} GiB "
            "free; set device to cpu, where a file holds what memory does not, or take fewer rows."
        )


def _mapped(size: int, what: str) -> mmap.mmap:
    """A mapping of a new file, in the first folder that has room for it."""
    refused = []
    for folder in _folders():
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                take_space(file, size)
                return mmap.mmap(file.fileno(), size)
        except OSError as error:
            refused.append(f"{folder} ({error.strerror or error})")
    tried = ", ".join(refused) or "none, as temporary files are kept in memory here"
    raise StoreError(
        f"{what} take {size / 2**30:.1f} GiB, and no folder has room for them: {tried}. Set the "
        f"environment variable {FOLDER} to a folder on a disk with more room, or {LIMIT} to "
        f"{math.ceil(size / 2**30)} to hold them in memory."
    )


def _folders() -> Iterator[Path]:
    """Folders for large arrays, the first choice first."""
    if chosen := os.environ.get(FOLDER):
        yield Path(chosen)
        return
    seen = set[int]()
    places: tuple[Callable[[], str | Path], ...]
    places = (tempfile.gettempdir, lambda: "/var/tmp", Path.cwd)
    for find in places:
        # There may be no place for temporary files, and the current folder may be gone.
        with suppress(OSError):
            folder = Path(find())
            # Another folder of a disk has no more room than the first one.
            disk = folder.stat().st_dev
            if disk not in seen and not _is_memory(folder):
                seen.add(disk)
                yield folder


def _is_memory(folder: Path) -> bool:
    """Whether the files of a folder lie in memory; False where the system does not say."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    disk = folder.stat().st_dev
    own = f"{os.major(disk)}:{os.minor(disk)}"
    for line in mounts.splitlines():
        place, _, system = line.partition(" - ")
        if place.split()[2] == own:
            return system.split()[0] in {"tmpfs", "ramfs"}
    return False


def take_space(file: IO[bytes], size: int) -> None:
    """Make a file as long as `size`, with room on the disk for all of it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        else:
            return
    for start in range(0, size, len(_BLOCK)):
        file.write(_BLOCK[: size - start])
    file.flush()
