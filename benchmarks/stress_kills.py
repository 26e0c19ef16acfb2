"""Trials of `stress.py`: kills of one process and of one of two ranks."""

import signal
import time

from benchmarks.stress_processes import (
    Fault,
    Outcome,
    kill_self,
    run,
    start,
    start_ranks,
    wait_ranks,
)
from benchmarks.stress_repository import Command, content, remove
from benchmarks.stress_results import BAD
from benchmarks.stress_world import World

#: Stages whose work ranks share.
SHARED = ("train", "extract")


def at_a_change(world: World, kind: str, command: Command) -> bool:
    """Kill a stage or command right before one of its changes, and run it again."""
    world.prepare(command)
    at = world.moment(command)
    first = run(world.place, command, Fault(at, kill_self))
    world.after(kind, command, f"{command.name} before change {at}", first)
    return True


def by_signal(world: World, kind: str, command: Command) -> bool:
    """Send the signal that the kind names at a random time, and run again."""
    world.prepare(command)
    process = start(world.place, command)
    time.sleep(world.random.uniform(0, world.seconds[command.name]))
    process.signal(signal.Signals[kind.split()[0]])
    world.after(kind, command, command.name, process.wait())
    return True


def of_a_rank(world: World, kind: str, command: Command) -> bool:
    """Kill one of two ranks, and let two run again, or one."""
    wanted = _of_two_ranks(world, command)
    world.prepare(command)
    victim = world.random.randrange(2)
    at = world.random.randint(1, 1 + world.changes[command.name] // 2)
    faults = [Fault(), Fault()]
    faults[victim] = Fault(at, kill_self)
    ends = wait_ranks(start_ranks(world.place, command, (faults[0], faults[1])))
    what = f"{command.name}, rank {victim}, change {at}"
    if any(end.kind == "hang" for end in ends):
        world.results.add(kind, command.name, "hang", what)
        return True
    if world.random.random() < 0.5:
        remove(*(world.place / out for out in command.outs))
    # What one rank extracts is the same to the byte; training goes on with as many as it had.
    alone = command.name == "extract" and world.random.random() < 0.5
    ends = (
        [run(world.place, command)]
        if alone
        else wait_ranks(start_ranks(world.place, command, (Fault(), Fault())))
    )
    end = worst(ends)
    if end == "held" and content(world.place, command.outs) != wanted:
        end = "silent"
    world.results.add(kind, command.name, end, f"{what}: {[each.text[-500:] for each in ends]}")
    return True


def _of_two_ranks(world: World, command: Command) -> dict[str, bytes]:
    """What an unbroken run of two ranks writes, which is counted as a trial the first time."""
    kind, name = "two ranks, unbroken", command.name
    if name not in world.ranked:
        world.prepare(command, over=False)
        ends = wait_ranks(start_ranks(world.place, command, (Fault(), Fault())))
        world.ranked[name] = content(world.place, command.outs)
        same = name != "extract" or world.ranked[name] == world.wanted[name]
        world.results.add(kind, name, worst(ends) if same else "silent", f"{name}: {ends}")
    return world.ranked[name]


def worst(ends: list[Outcome]) -> str:
    """Whether all ranks ended as they should; what one refused or was ended for is lost."""
    kinds = [end.kind for end in ends if end.kind != "done"]
    return next((kind for kind in kinds if kind in BAD), "lost" if kinds else "held")
