"""Trials of `stress.py`: two at once that write one result, or one that reads it."""

import fcntl
import os
import socket
import time

from benchmarks.stress_processes import Fault, run, start
from benchmarks.stress_repository import Command, content, copy
from benchmarks.stress_results import BAD
from benchmarks.stress_world import World


def two_writers(world: World, kind: str, command: Command) -> bool:
    """Run one command twice at a time; one may be refused, and the result is whole."""
    return _two(world, kind, command, Fault(), Fault())


def two_machines(world: World, kind: str, command: Command) -> bool:
    """The same on two machines that share the folder, where locks are not seen."""
    faults = [Fault(prepare=lambda name=name: _be(name)) for name in ("first", "second")]
    return _two(world, kind, command, *faults)


def read_during_replace(world: World, kind: str, producer: Command) -> bool:
    """Read a result while another one takes its place: the old, the new, or a sentence."""
    reader = world.random.choice([two for one, two in world.pairs("ltood ") if one == producer])
    world.fresh()
    for out in producer.outs:  # The older result is that of the other repository.
        copy(world.other / out, world.place / out)
    older = run(world.place, reader)
    before = content(world.place, reader.outs)
    writer = start(world.place, producer)
    time.sleep(world.random.uniform(0, 1))
    seen = run(world.place, reader)
    written = writer.wait()
    if seen.kind == "done":
        found = content(world.place, reader.outs)
        whole = found in (world.wanted[reader.name], before if older.kind == "done" else None)
        end = "held" if whole else "silent"
    else:
        end = seen.kind
    if written.kind != "done":
        end = "lost"
    what = f"{reader.name} while {producer.name} writes"
    words = f"{what}: {written.text[-500:]} {seen.text[-500:]}"
    world.results.add(kind, producer.name, end, words)
    return True


def _two(world: World, kind: str, command: Command, first: Fault, second: Fault) -> bool:
    world.prepare(command)
    both = [start(world.place, command, first)]
    time.sleep(world.random.uniform(0, 0.5))
    both.append(start(world.place, command, second))
    ends = [each.wait() for each in both]
    what = f"{command.name}: {[end.text[-700:] for end in ends]}"
    bad = [end.kind for end in ends if end.kind in BAD]
    if bad or all(end.kind != "done" for end in ends):
        end = bad[0] if bad else "lost"
    else:
        end = "held" if world.is_right(command) else "silent"
    world.results.add(kind, command.name, end, what)
    return True


def _be(name: str) -> None:
    """Make this process one of another machine: by its name, and its locks are seen by none."""
    from ltood.runtime import files, scratch

    machine = os.uname()
    socket.gethostname = lambda: name
    os.uname = lambda: os.uname_result((machine.sysname, name, *machine[2:]))
    fcntl.flock = lambda *_: None
    files.MACHINE = name
    scratch._PREFIX = f"ltood-{name}-"
    files._SIBLING = files.re.compile(rf"\..+\.{name}-(\d+)-\d+\.tmp\Z")
