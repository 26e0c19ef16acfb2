"""Two finished repositories for `stress.py`, and the copy that a trial breaks."""

import random
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks.stress_processes import Fault, Outcome, run
from benchmarks.stress_repository import (
    UNFINISHED,
    Command,
    commands,
    content,
    copy,
    remove,
    write_sources,
)
from benchmarks.stress_results import Results


class World:
    """Two finished repositories, with other images and seeds, and a place for a copy.

    Attributes:
        commands: All stages in order, then the commands.
        changes: How many changes of folders each makes.
        wanted: What each wrote, by file.
        seconds: How long each took.
        ranked: What two ranks wrote, where that was asked for.
        place: The copy.
    """

    def __init__(
        self, folder: Path, seed: int, results: Results, names: Collection[str] = ()
    ) -> None:
        """Run all stages and commands once in both, or those of these names alone."""
        self.folder, self.random, self.results = folder, random.Random(seed), results
        self.commands = [each for each in commands() if not names or each.name in names]
        self.changes = dict[str, int]()
        self.seconds, self.ranked = dict[str, float](), dict[str, dict[str, bytes]]()
        self.whole, self.other, self.place = folder / "whole", folder / "other", folder / "place"
        for number, target in enumerate((self.whole, self.other)):
            write_sources(target, number)
            for command in self.commands:
                begun = time.monotonic()
                outcome = run(target, command)
                if outcome.kind != "done":
                    raise SystemExit(f"{command.name} does not run: {outcome.text}")
                self.changes[command.name] = outcome.changes
                self.seconds[command.name] = time.monotonic() - begun
        self.wanted = {each.name: content(self.whole, each.outs) for each in self.commands}

    def named(self, *names: str) -> list[Command]:
        """Commands of these names."""
        return [each for each in self.commands if each.name in names]

    def pairs(self, prefix: str = "") -> Iterator[tuple[Command, Command]]:
        """Commands, each with one that reads what it writes or, in the unfinished, itself."""
        named = [each for each in self.commands if each.name.startswith(prefix)]
        for one in named:
            for two in named:
                reads = any(_within(dep, one.outs) for dep in two.deps)
                # What verifies says the same of old and new.
                if one.name != "inputs" and reads and (two.outs or not prefix):
                    yield one, two
            if not prefix and one.name in UNFINISHED:
                yield one, one

    def fresh(self) -> None:
        """Make the place a copy of the finished repository."""
        copy(self.whole, self.place)

    def prepare(self, command: Command, *, over: bool | None = None) -> None:
        """Make the place one in which a command has not run, or ran in another repository."""
        self.fresh()
        outs = [*command.outs, *([UNFINISHED[command.name]] if command.name in UNFINISHED else [])]
        over = self.random.random() < 0.4 if over is None else over
        over = over and not command.free
        for out in outs:
            remove(self.place / out)
            if over and (self.other / out).exists():
                copy(self.other / out, self.place / out)

    def moment(self, command: Command) -> int:
        """Number of a change of a command."""
        return self.random.randint(1, max(1, self.changes[command.name]))

    def is_right(self, command: Command, place: Path | None = None) -> bool:
        """Whether what a command wrote has the bytes of an unbroken run."""
        return content(place or self.place, command.outs) == self.wanted[command.name]

    def after(self, kind: str, command: Command, what: str, first: Outcome) -> None:
        """Judge a run that something was done to, run it again, and count the trial."""
        if first.kind in ("traceback", "hang"):
            self.results.add(kind, command.name, first.kind, f"{what}: {first.text[-900:]}")
        elif first.kind == "done" and not self.is_right(command):
            self.results.add(kind, command.name, "silent", f"{what}: 0 with another result")
        else:
            self.rerun(kind, command, what)

    def rerun(self, kind: str, command: Command, what: str) -> None:
        """Run a command again, as DVC would or in place, and compare."""
        if not command.arguments and self.random.random() < 0.5:
            remove(*(self.place / out for out in command.outs))
        again = run(self.place, command, Fault())
        end, same = again.kind, self.is_right(command)
        if end == "done" or (end == "refused" and command.free and same):
            end = "held" if same else "silent"
        elif end == "refused":
            end = "lost"
        left = [
            str(path) for out in command.outs for path in (self.place / out).parent.glob(".*.tmp")
        ]
        if end == "held" and left:
            end = "held, leftovers"
        self.results.add(kind, command.name, end, f"{what}: {again.text[-900:]}")


def _within(dep: str, outs: tuple[str, ...]) -> bool:
    return any(dep == out or dep.startswith(f"{out}/") for out in outs)
