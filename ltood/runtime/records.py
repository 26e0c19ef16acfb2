"""When, how long, where and from which commit a result was made, beside the results themselves.

A result holds no time of day, so that equal work gives equal bytes. What a reader wants to know of
its making lies apart, under the digest of the result: a result that comes back from a cache finds
its record again, one that was made elsewhere has none, and one that is made a second time keeps the
first. Nothing is computed from a record, and all of them may be removed at any time.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError
from ltood.core.words import counted
from ltood.runtime.files import read_regular, write_atomically

#: Records of one stage that are kept.
_KEPT = 50
_GIT_SECONDS = 10


@dataclass(frozen=True)
class Clock:
    """When some work began.

    Attributes:
        seconds: On a clock that is never set.
    """

    seconds: float

    @classmethod
    def start(cls) -> "Clock":
        """Begin now."""
        return cls(time.perf_counter())

    def note(self, folder: Path, result: Path) -> None:
        """Record the making of a result unless it is known already; failures are passed over.

        Args:
            folder: Where the records of this kind of result lie.
            result: File that differs where the result does.
        """
        with suppress(OSError):
            path = _place(folder, result)
            if path is None or path.exists():
                return
            found = {
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.perf_counter() - self.seconds, 1),
                "machine": machine(),
                "git": git_state(),
                "python": platform.python_version(),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(found, indent=1, sort_keys=True).encode())
            others = sorted(
                (one for one in folder.glob("*.json") if one != path),
                key=lambda one: one.stat().st_mtime,
            )
            for old in others[: 1 - _KEPT]:
                old.unlink()


def record_of(folder: Path, result: Path) -> dict[str, Any] | None:
    """The record of a result; None where there is none, or it cannot be read."""
    path = _place(folder, result)
    if path is None:
        return None
    try:
        found = json.loads(read_regular(path))
        return {
            "finished": str(found["finished"]),
            "seconds": float(found["seconds"]),
            "machine": str(found["machine"]),
            "git": found["git"],
            "python": str(found["python"]),
        }
    except (OSError, CorruptStoreError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _place(folder: Path, result: Path) -> Path | None:
    try:
        sha256 = hashlib.sha256(read_regular(result)).hexdigest()
    except (OSError, CorruptStoreError):
        return None
    return folder / f"{sha256[:24]}.json"


def machine() -> str:
    """Processor, cores and accelerators in words, without the name of the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{_processor()}, {counted(cores or 1, 'core')}"]
    torch = sys.modules.get("torch")
    # Whoever has not loaded torch by now has not used an accelerator.
    if torch is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return "; ".join(parts)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def git_state() -> dict[str, Any] | None:
    """Commit of the current folder, and whether tracked files differ from it; None without one."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        # DVC writes its lock file while stages run.
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed.strip())}


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], capture_output=True, text=True, check=True, timeout=_GIT_SECONDS
    )
    return done.stdout
