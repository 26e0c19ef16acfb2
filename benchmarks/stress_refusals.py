"""Trials of `stress.py`: a system that refuses, small and read-only disks, and wrong clocks."""

import contextlib
import errno
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.stress_processes import Fault, file_limit, refusing, run
from benchmarks.stress_repository import Command
from benchmarks.stress_world import World

#: Errors of the system: full disk, quota, read-only disk, no rights, stale handle of NFS, bad disk.
REFUSALS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.ESTALE,
    errno.EIO,
)
_SIZES = (0, 100, 1000, 5000, 50_000)
#: The user "nobody".
_NOBODY = 65534
#: Size of a disk that is large enough.
_ROOM = "size=256m"
_DAY = 86_400


def from_a_change(world: World, kind: str, command: Command) -> bool:
    """Let the system refuse all changes from one on, with the error that the kind names."""
    world.prepare(command)
    at = world.moment(command)
    number = next(each for each in REFUSALS if errno.errorcode[each] == kind.split()[0])
    first = run(world.place, command, Fault(at, refusing(number)))
    world.after(kind, command, f"{command.name} from change {at}", first)
    return True


def above_a_size(world: World, kind: str, command: Command) -> bool:
    """Let no file grow above a size, as with a quota."""
    world.prepare(command)
    size = world.random.choice(_SIZES)
    first = run(world.place, command, Fault(prepare=file_limit(size)))
    world.after(kind, command, f"{command.name}, {size} bytes", first)
    return True


def on_a_small_disk(world: World, kind: str, command: Command) -> bool:
    """Run on a disk of its own that is full before the command has ended, temporary files too."""
    with _disk(world) as disk:
        world.prepare(command)
        used = os.statvfs(disk)
        pages = used.f_blocks - used.f_bfree
        free = world.random.randrange(1 + _pages(world, command))
        _mount(f"remount,size={(pages + free) * used.f_frsize}", disk)
        first = run(world.place, command, Fault(prepare=lambda: _temporaries_in(disk)))
        _mount(f"remount,{_ROOM}", disk)
        world.after(kind, command, f"{command.name}, {free} pages free", first)
    return True


def on_a_read_only_disk(world: World, kind: str, command: Command) -> bool:
    """Run on a disk that takes no changes, and again once it does."""
    with _disk(world) as disk:
        world.prepare(command)
        _mount("remount,ro", disk)
        first = run(world.place, command)
        _mount("remount,rw", disk)
        world.after(kind, command, command.name, first)
    return True


def without_rights(world: World, kind: str, command: Command) -> bool:
    """Run as a user who may read everything and write nothing."""
    world.prepare(command)
    world.folder.chmod(0o755)
    subprocess.run(["chmod", "-R", "a+rX,go-w", str(world.place)], check=True)
    first = run(world.place, command, Fault(prepare=lambda: os.setuid(_NOBODY)))
    world.after(kind, command, command.name, first)
    return True


def with_a_wrong_clock(world: World, kind: str, command: Command) -> bool:
    """Give all files random times and let the clock go back and forth; the bytes stay the same."""
    world.prepare(command)
    for folder, _, names in os.walk(world.place):
        for name in ("", *names):
            when = world.random.uniform(0, 4_000_000_000)
            with contextlib.suppress(FileNotFoundError):
                os.utime(Path(folder, name), (when, when), follow_symlinks=False)
    seed = world.random.random()
    first = run(world.place, command, Fault(prepare=lambda: _jumping(seed)))
    if first.kind == "refused":
        world.results.add(kind, command.name, "lost", f"{command.name}: {first.text[-900:]}")
    else:
        world.after(kind, command, command.name, first)
    return True


def may_mount() -> bool:
    """Whether this process may make disks in memory."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _mount(_ROOM, Path(folder))
        except (OSError, subprocess.SubprocessError):
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def _jumping(seed: float) -> None:
    """Let every look at the clock find a time within a year of the right one."""
    rng, seconds = random.Random(seed), time.time

    def jumping() -> float:
        return seconds() + rng.uniform(-365, 365) * _DAY

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


def _pages(world: World, command: Command) -> int:
    """Pages of memory that hold what a command writes."""
    found = (world.whole / out for out in command.outs)
    files = [path for out in found for path in (out, *out.rglob("*")) if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) for path in files)


def _temporaries_in(folder: Path) -> None:
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def _mount(options: str, folder: Path) -> None:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(words, check=True, capture_output=True)


@contextlib.contextmanager
def _disk(world: World) -> Iterator[Path]:
    """A disk in memory, in which the place of the world lies meanwhile."""
    before, disk = world.place, world.folder / "disk"
    disk.mkdir(exist_ok=True)
    _mount(_ROOM, disk)
    world.place = disk / "place"
    try:
        yield disk
    finally:
        world.place = before
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
