"""What the trials of `stress.py` met: a record that grows by a line with each, and its page."""

import json
import os
import platform
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.stress_repository import HERE

#: Ends that must not be.
BAD = ("silent", "traceback", "hang", "lost", "too much again")

LEGEND = (
    "Held: the same bytes after the command ran again. Refused: a sentence, while a result was",
    "being replaced. Refused, healed: a sentence, and the same bytes once the damaged result was",
    "made again. The others must be 0: hang, no end in 90 seconds; lost, not made whole by a",
    "rerun; silent, other bytes without a word; too much again, a repair of more than the damage.",
)


class Trial(NamedTuple):
    """One trial, as the record has it.

    Attributes:
        kind: Kind of trial.
        hit: Stage or command that was hit.
        end: How it ended.
        what: What exactly was done, and the words that were said, where the end must not be.
        commit: Of the code that was tried.
        seed: Of the random numbers.
        seconds: How long it took.
    """

    kind: str
    hit: str
    end: str
    what: str
    commit: str
    seed: int
    seconds: float


class Results:
    """Adds to a record, which several processes may share."""

    def __init__(self, record: Path, seed: int) -> None:
        """Take the file, which need not exist."""
        self.record, self._seed, self._commit = record, seed, commit()
        self._begun = time.monotonic()

    def add(self, kind: str, hit: str, end: str, what: str) -> None:
        """Count one trial."""
        now = time.monotonic()
        trial = Trial(
            kind,
            hit,
            end,
            what if end in BAD else "",
            self._commit,
            self._seed,
            round(now - self._begun, 2),
        )
        self._begun = now
        handle = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(handle, (json.dumps(trial) + "\n").encode())
        finally:
            os.close(handle)
        if end in BAD:
            print(f"{kind}: {end}: {what}", flush=True)


def read(record: Path) -> list[Trial]:
    """All trials of a record; a last line that a kill cut off is passed over."""
    if not record.exists():
        return []
    lines = record.read_text().splitlines(keepends=True)
    return [Trial(*json.loads(line)) for line in lines if line.endswith("\n")]


def commit() -> str:
    """Short name of the commit of this code, with a star where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(HERE), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "ltood", "benchmarks")
        return git("rev-parse", "--short=8", "HEAD") + "*" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def page(trials: Iterable[Trial]) -> str:
    """The page of results as Markdown."""
    trials = list(trials)
    seeds = ", ".join(str(seed) for seed in sorted({trial.seed for trial in trials}))
    minutes = sum(trial.seconds for trial in trials) / 60
    commits = Counter(trial.commit for trial in trials)
    lines = [
        "# Kills, failing disks and corruptions",
        "",
        f"{len(trials):,} trials of `python -m benchmarks.stress`, each compared byte for byte",
        f"with an unbroken run; seeds {seeds}, Python {platform.python_version()}, "
        f"{minutes:.0f} minutes of one process.",
        "Commits: " + ", ".join(f"`{name}` ({n:,})" for name, n in commits.items()) + ".",
        "",
        *LEGEND,
        "",
        *_table("kind of trial", trials, lambda trial: trial.kind),
        "",
        *_table("stage or command that was hit", trials, lambda trial: trial.hit),
    ]
    return "\n".join(lines) + "\n"


def _table(title: str, trials: Iterable[Trial], row_of: Callable[[Trial], str]) -> list[str]:
    """Ends by row, with all trials in the last one."""
    rows: Mapping[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        rows[row_of(trial)][trial.end] += 1
    whole = sum(rows.values(), Counter[str]())
    ends = sorted({*whole, *BAD}, key=lambda end: (end in BAD, end))
    lines = [
        f"| {title} | trials | " + " | ".join(ends) + " |",
        "|---|" + "---:|" * (1 + len(ends)),
    ]
    for name, counts in [*sorted(rows.items()), ("all", whole)]:
        cells = (f"{counts[end]:,}" for end in ends)
        lines.append(f"| {name} | {counts.total():,} | " + " | ".join(cells) + " |")
    return lines
