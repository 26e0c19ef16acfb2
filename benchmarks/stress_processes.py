"""Processes that are forked for `stress.py`, each with an injected fault.

torch is loaded once, in the process that forks. A fork runs one stage or command and is killed,
or the system refuses, right before its n-th change of a folder.
"""

import contextlib
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.stress_repository import HERE, RECORDS, Command, remove

_SECONDS = 90.0
#: What commands import while they run, and takes long.
_LOADED = (
    "google_crc32c",
    "jinja2",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pandas",
    "PIL.Image",
    "pyarrow.parquet",
    "pydantic",
    "safetensors.torch",
    "torch._dynamo",
    "zarr",
)
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink")


class Outcome(NamedTuple):
    """How a process ended: exit code, what it printed, and how many changes it made."""

    code: int
    text: str
    changes: int

    @property
    def kind(self) -> str:
        """One of done, refused, traceback, hang, killed."""
        if self.code == -signal.SIGALRM:
            return "hang"
        if "Traceback" in self.text:
            return "traceback"
        if self.code < 0:
            return "killed"
        if self.code == 0:
            return "done"
        return "refused" if "error: " in self.text or self.code == 130 else "traceback"


@dataclass
class Fault:
    """What happens right before the n-th change below the folder.

    Attributes:
        at: Number of the change, from 1; 0 lets all pass.
        act: What happens then, and at every later change if it returns.
        prepare: Done in the new process first.
    """

    at: int = 0
    act: Callable[[str], None] = field(default=lambda path: None)
    prepare: Callable[[], None] = field(default=lambda: None)


def kill_self(path: str) -> None:
    """End this process at once."""
    del path
    os.kill(os.getpid(), signal.SIGKILL)


def refusing(number: int) -> Callable[[str], None]:
    """Make an act that refuses a change as the system does with that error number."""

    def refuse(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    return refuse


def file_limit(size: int) -> Callable[[], None]:
    """Make a preparation after which no file may grow above `size` bytes, as with a quota."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))


def load_everything() -> None:
    """Import what the forks need, so that none imports it again."""
    import torch

    torch.set_num_threads(1)
    for path in sorted((HERE / "ltood").glob("*/*.py")):
        if path.stem not in ("__init__", "_rank") and path.parent.name != "serving":
            with contextlib.suppress(ImportError):  # Of packages that are extras.
                importlib.import_module(f"ltood.{path.parent.name}.{path.stem}")
    for name in _LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def start(
    folder: Path, command: Command, fault: Fault | None = None, environment: Mapping[str, str] = {}
) -> "Running":
    """Fork a process that runs a command in a folder."""
    # In memory, since disks of trials are full or read-only.
    log, changes = os.memfd_create("log"), mmap.mmap(-1, 8)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _child(folder, command, fault or Fault(), log, changes, environment)
    return Running(process, log, changes)


def _child(
    folder: Path,
    command: Command,
    fault: Fault,
    log: int,
    changes: mmap.mmap,
    environment: Mapping[str, str],
) -> None:
    """What the forked process does; it never returns."""
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(environment)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        with contextlib.suppress(OSError):  # On a disk that takes no changes there are none.
            remove(folder / RECORDS)
        _watch(folder, fault, changes)
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        fault.prepare()
        code = _run(command)
        file_limit(resource.RLIM_INFINITY)()  # What was printed is written now.
    except BaseException:
        file_limit(resource.RLIM_INFINITY)()
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _watch(folder: Path, fault: Fault, changes: mmap.mmap) -> None:
    """Count the changes below a folder, and let the fault act."""
    inside = f"{folder}{os.sep}"

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            mode, flags = details[1], details[2] or 0
            written = set(mode or "") & set("wax+") if isinstance(mode, str) else False
            if not written and not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in _CHANGES:
            return
        if not isinstance(details[0], str | bytes | os.PathLike):
            return
        path = os.path.normpath(Path.cwd() / os.fsdecode(details[0]))
        if path.startswith(inside):
            number = int.from_bytes(changes[:], "little") + 1
            changes[:] = number.to_bytes(8, "little")
            if fault.at and number >= fault.at:
                fault.act(path)

    sys.addaudithook(hook)


def _run(command: Command) -> int:
    """Run a stage or command as its own process would, and give the exit code."""
    from ltood.cli import main

    try:
        if command.arguments:
            sys.argv = ["ltood", *command.arguments]
            main()
        else:
            importlib.import_module(f"ltood.pipeline.{command.name}").run()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


class Running:
    """A forked process."""

    def __init__(self, process: int, log: int, changes: mmap.mmap) -> None:
        """Take what `start` made."""
        self.process, self._log, self._changes = process, log, changes
        self._code: int | None = None

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        if self._code is None:
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.process, number)

    def wait(self, seconds: float = _SECONDS) -> Outcome:
        """Wait for the end; what does not end in time counts as hanging."""
        end = time.monotonic() + seconds
        while (code := self.poll()) is None and time.monotonic() < end:
            time.sleep(0.002)
        if code is None:
            self.signal(signal.SIGKILL)
            while self.poll() is None:
                time.sleep(0.002)
            code = -signal.SIGALRM
        with os.fdopen(self._log, "rb") as log:
            log.seek(0)
            text = log.read().decode(errors="replace")
        with self._changes as changes:
            return Outcome(code, text, int.from_bytes(changes[:], "little"))


def run(folder: Path, command: Command, fault: Fault | None = None) -> Outcome:
    """Run a command in a folder and wait for it."""
    return start(folder, command, fault).wait()


def start_ranks(folder: Path, command: Command, faults: tuple[Fault, ...]) -> list[Running]:
    """Fork one process for each fault, as ranks that share a stage."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = str(len(faults))
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": world}
    return [
        start(folder, command, fault, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, fault in enumerate(faults)
    ]


def wait_ranks(ranks: list[Running]) -> list[Outcome]:
    """Wait for all; once one has failed the others are ended, as torchrun does."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        codes = [rank.poll() for rank in ranks]
        if any(code not in (None, 0) for code in codes):
            for rank in ranks:
                rank.signal(signal.SIGTERM)
            return [rank.wait(10) for rank in ranks]
        if all(code == 0 for code in codes):
            break
        time.sleep(0.002)
    return [rank.wait(0) for rank in ranks]
