"""Trials of `stress.py`: kills, refusals of the system, corruptions, two writers, and readers."""

import errno
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.stress_damage import DAMAGES, Places, chunk_of
from benchmarks.stress_processes import (
    Fault,
    Outcome,
    file_limit,
    kill_self,
    refusing,
    run,
    start,
    start_ranks,
    wait_ranks,
)
from benchmarks.stress_repository import (
    UNFINISHED,
    Command,
    commands,
    content,
    copy,
    remove,
    write_sources,
)

#: Errors of the system: full disk, quota, read-only disk, no rights, stale handle of NFS, bad disk.
_REFUSALS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.ESTALE,
    errno.EIO,
)
_SHARED = ("train", "extract")
#: Ends that must not be.
BAD = ("silent", "traceback", "hang", "lost", "too much again")
_FEATURES = "data/work/features.zarr"
#: Damage of more than one chunk.
_SPREADING = ("swapped files", "folder of another run")
_VERIFY = "ltood store verify"


@dataclass
class Results:
    """Counts of ends, and what went wrong.

    Attributes:
        kinds: How often each end was met, by the kind of trial.
        commands: The same by the stage or command that was hit.
        faults: One line for each end that must not be.
    """

    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    commands: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)

    def add(self, title: str, command: Command | str, end: str, what: str) -> None:
        """Count one trial."""
        self.kinds[title][end] += 1
        self.commands[command if isinstance(command, str) else command.name][end] += 1
        if end in BAD:
            self.faults.append(f"{title}: {end}: {what}")
            print(self.faults[-1], flush=True)

    def join(self, other: "Results") -> None:
        """Add the trials of another process."""
        for mine, theirs in ((self.kinds, other.kinds), (self.commands, other.commands)):
            for name, counts in theirs.items():
                mine[name] += counts
        self.faults += other.faults


class Stress:
    """Two finished repositories, of which copies are broken.

    Attributes:
        results: What was met.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        """Run all stages and commands once in two repositories with other images and seeds."""
        self.folder, self.random, self.results = folder, random.Random(seed), Results()
        self.commands, self.changes = commands(), dict[str, int]()
        self.whole, self.other, self.place = folder / "whole", folder / "other", folder / "place"
        for number, target in enumerate((self.whole, self.other)):
            write_sources(target, number)
            for command in self.commands:
                outcome = run(target, command)
                if outcome.kind != "done":
                    raise SystemExit(f"{command.name} does not run: {outcome.text}")
                self.changes[command.name] = outcome.changes
        self.wanted = {each.name: content(self.whole, each.outs) for each in self.commands}
        self.ranked: dict[str, dict[str, bytes]] = {}

    def kill(self) -> None:
        """Kill a stage or command at a change or at a random time, and run it again."""
        if self.random.random() < 0.08:
            self._kill_ranks(self._command(_SHARED))
            return
        command = self._command()
        self._prepare(command)
        if self.random.random() < 0.75:
            at = self.random.randint(1, max(1, self.changes[command.name]))
            first = run(self.place, command, Fault(at, kill_self))
            title, what = "kill at a change", f"{command.name} before change {at}"
        else:
            number = self.random.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            title, what = f"{number.name} at a random time", command.name
            process = start(self.place, command)
            time.sleep(self.random.uniform(0, 1.5))
            process.signal(number)
            first = process.wait()
        if first.kind in BAD:
            self.results.add(title, command, first.kind, f"{what}: {first.text[-600:]}")
            return
        self._rerun(title, command, what, self.wanted[command.name])

    def _kill_ranks(self, command: Command) -> None:
        """Kill one of two ranks, and let two ranks run again."""
        if command.name not in self.ranked:
            self._prepare(command, over=False)
            ends = wait_ranks(start_ranks(self.place, command, (Fault(), Fault())))
            self.results.add(
                "two ranks, unbroken", command, _worst(ends), f"{command.name}: {ends}"
            )
            self.ranked[command.name] = content(self.place, command.outs)
            if command.name == "extract" and self.ranked["extract"] != self.wanted["extract"]:
                self.results.add(
                    "two ranks, unbroken", command, "silent", "other bytes than of one rank"
                )
        self._prepare(command)
        victim, at = (
            self.random.randrange(2),
            self.random.randint(1, 1 + self.changes[command.name] // 2),
        )
        faults = [Fault(), Fault()]
        faults[victim] = Fault(at, kill_self)
        ranks = start_ranks(self.place, command, (faults[0], faults[1]))
        title, what = "kill of one of two ranks", f"{command.name}, rank {victim}, change {at}"
        ends = wait_ranks(ranks)
        if any(end.kind == "hang" for end in ends):
            self.results.add(title, command, "hang", what)
            return
        if self.random.random() < 0.5:
            remove(*(self.place / out for out in command.outs))
        ends = wait_ranks(start_ranks(self.place, command, (Fault(), Fault())))
        found = content(self.place, command.outs)
        same = found == self.ranked[command.name]
        end = _worst(ends)
        if end == "held" and not same:
            end = "silent"
        self.results.add(title, command, end, f"{what}: {[e.text[-500:] for e in ends]}")

    def refuse(self) -> None:
        """Let the system refuse changes from one on, or files above a size, and run again."""
        command = self._command()
        self._prepare(command)
        if self.random.random() < 0.3:
            size = self.random.choice((0, 100, 1000, 5000, 50_000))
            fault, title = Fault(prepare=file_limit(size)), "no file above a size"
            what = f"{command.name}, {size} bytes"
        else:
            number = self.random.choice(_REFUSALS)
            at = self.random.randint(1, max(1, self.changes[command.name]))
            fault, title = (
                Fault(at, refusing(number)),
                f"{errno.errorcode[number]} from a change on",
            )
            what = f"{command.name} from change {at}"
        first = run(self.place, command, fault)
        if first.kind in ("traceback", "hang"):
            self.results.add(title, command, first.kind, f"{what}: {first.text[-900:]}")
            return
        if first.kind == "done" and content(self.place, command.outs) != self.wanted[command.name]:
            self.results.add(title, command, "silent", f"{what}: exit code 0 with another result")
            return
        self._rerun(title, command, what, self.wanted[command.name])

    def corrupt(self) -> None:
        """Damage a file of a result, run what reads it, then do what messages say."""
        producer, reader = self._pair()
        self._fresh()
        damaged = producer.outs if producer != reader else (UNFINISHED[producer.name],)
        kind, name = self._damage(sorted(content(self.place, damaged)))
        if not name:
            return
        title, what = kind, f"{kind} {name}, read by {reader.name}"
        remove(*(self.place / out for out in reader.outs if out not in damaged))
        first = run(self.place, reader)
        if first.kind != "refused":
            same = content(self.place, reader.outs) == self.wanted[reader.name]
            if reader.name == _VERIFY:
                same = content(self.place, damaged) == content(self.whole, damaged)
            end = ("held" if same else "silent") if first.kind == "done" else first.kind
            self.results.add(title, producer, end, f"{what}: {first.text[-900:]}")
            return
        remove(*(self.place / out for out in (*damaged, *reader.outs)))
        again = [run(self.place, each) for each in dict.fromkeys((producer, reader))]
        same = content(self.place, reader.outs) == self.wanted[reader.name]
        end = "refused, healed" if same and again[-1].kind == "done" else "lost"
        words = [each.text[-500:] for each in (first, *again)]
        self.results.add(title, producer, end, f"{what}: {words}")

    def repair(self) -> None:
        """Damage chunks of the features, kill a repair or not, and let it end."""
        self._fresh()
        files = sorted(content(self.place, (_FEATURES,)))
        chunks = [name for name in files if chunk_of(name)]
        found = [self._damage(chunks, alone=True) for _ in range(self.random.randint(1, 3))]
        damaged = {chunk_of(name) for _, name in found if name}
        if not damaged:
            return
        before = {name: _mark(self.place / name) for name in files}
        words = ("store", "repair", _FEATURES, "--device", "cpu")
        command, title, what = Command("repair", words, (), ()), "repair of features", str(found)
        if self.random.random() < 0.6:
            title, at = "kill of a repair", self.random.randint(1, 12)
            what += f", killed at change {at}"
            run(self.place, command, Fault(at, kill_self))
        ended = run(self.place, command)
        same = content(self.place, (_FEATURES,)) == content(self.whole, (_FEATURES,))
        end = ("held" if same else "silent") if ended.kind == "done" else ended.kind
        again = [
            n for n in files if chunk_of(n) not in damaged and _mark(self.place / n) != before[n]
        ]
        if end == "held" and again:
            end = "too much again"
        if end == "refused":
            end = "lost"
        self.results.add(
            title, "ltood store repair", end, f"{what}: {again[:3]} {ended.text[-900:]}"
        )

    def _damage(self, files: list[str], *, alone: bool = False) -> tuple[str, str]:
        """Damage one of these files; what was done, and the file, empty where nothing changed."""
        if not files:
            return "", ""
        name, kind = self.random.choice(files), self.random.choice(list(DAMAGES))
        if not (self.place / name).is_file() or (alone and kind in _SPREADING):
            return "", ""
        places = Places(self.place, self.other, self.whole, self.random)
        return kind, name if DAMAGES[kind](places, name, files) else ""

    def two_writers(self) -> None:
        """Run one command twice at a time; one may be refused, and the result is whole."""
        command = self._command()
        self._prepare(command)
        both = [start(self.place, command)]
        time.sleep(self.random.uniform(0, 0.5))
        both.append(
            start(
                self.place,
                command,
            )
        )
        ends = [each.wait() for each in both]
        title, what = "two writers at once", f"{command.name}: {[e.text[-700:] for e in ends]}"
        bad = [end.kind for end in ends if end.kind in BAD]
        if bad or all(end.kind != "done" for end in ends):
            self.results.add(title, command, bad[0] if bad else "lost", what)
            return
        same = content(self.place, command.outs) == self.wanted[command.name]
        self.results.add(title, command, "held" if same else "silent", what)

    def read_during_replace(self) -> None:
        """Read a result while another one takes its place: the old, the new, or a sentence."""
        producer, reader = self._pair("ltood ")
        self._fresh()
        for out in producer.outs:  # The older result is that of the other repository.
            copy(self.other / out, self.place / out)
        older = run(self.place, reader)
        before = content(self.place, reader.outs)
        writer = start(self.place, producer)
        time.sleep(self.random.uniform(0, 1))
        seen = run(self.place, reader)
        written = writer.wait()
        title, what = "read during a replace", f"{reader.name} while {producer.name} writes"
        if seen.kind == "done":
            found = content(self.place, reader.outs)
            whole = found in (self.wanted[reader.name], before if older.kind == "done" else None)
            end = "held" if whole else "silent"
        else:
            end = seen.kind
        if written.kind != "done":
            end = "lost"
        self.results.add(title, producer, end, f"{what}: {written.text[-500:]} {seen.text[-500:]}")

    def _command(self, names: tuple[str, ...] = ()) -> Command:
        return self.random.choice([c for c in self.commands if not names or c.name in names])

    def _pair(self, prefix: str = "") -> tuple[Command, Command]:
        """A command, and one that reads what it writes or, in the unfinished, itself."""
        named = [each for each in self.commands if each.name.startswith(prefix)]
        pairs = [
            (one, two)
            for one in named
            for two in named
            if one.name != "inputs" and any(_within(dep, one.outs) for dep in two.deps)
            if not prefix or two.outs  # What verifies says the same of old and new.
        ]
        if not prefix:
            pairs += [(one, one) for one in named if one.name in UNFINISHED]
        return self.random.choice(pairs)

    def _fresh(self) -> None:
        copy(self.whole, self.place)

    def _prepare(self, command: Command, *, over: bool | None = None) -> None:
        """A repository in which a command has not run, or ran in another one."""
        self._fresh()
        outs = [*command.outs, *([UNFINISHED[command.name]] if command.name in UNFINISHED else [])]
        over = self.random.random() < 0.4 if over is None else over
        over = over and not command.free
        for out in outs:
            remove(self.place / out)
            if over and (self.other / out).exists():
                copy(self.other / out, self.place / out)

    def _rerun(self, title: str, command: Command, what: str, wanted: dict[str, bytes]) -> None:
        """Run again after a kill, as DVC would or in place, and compare."""
        if not command.arguments and self.random.random() < 0.5:
            remove(*(self.place / out for out in command.outs))
        again = run(self.place, command)
        end, same = again.kind, content(self.place, command.outs) == wanted
        if end == "done" or (end == "refused" and command.free and same):
            end = "held" if same else "silent"
        elif end == "refused":
            end = "lost"
        left = [
            str(path) for out in command.outs for path in (self.place / out).parent.glob(".*.tmp")
        ]
        if end == "held" and left:
            end = "held, leftovers"
        self.results.add(title, command, end, f"{what}: {again.text[-900:]}")


def _worst(ends: list[Outcome]) -> str:
    """Whether all ranks ended as they should; what one refused or was ended for is lost."""
    kinds = [end.kind for end in ends if end.kind != "done"]
    return next((kind for kind in kinds if kind in BAD), "lost" if kinds else "held")


def _mark(path: Path) -> tuple[int, int] | None:
    """What tells that a file was written again."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def _within(dep: str, outs: tuple[str, ...]) -> bool:
    return any(dep == out or dep.startswith(f"{out}/") for out in outs)
