"""Kinds of trials of `stress.py`, in groups that are counted apart."""

import errno
import signal
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import stress_corruptions, stress_kills, stress_refusals, stress_writers
from benchmarks.stress_damage import DAMAGES
from benchmarks.stress_repository import Command
from benchmarks.stress_world import World


class Kind(NamedTuple):
    """A kind of trials.

    Attributes:
        name: As the table has it.
        trial: Makes one, given its name and what it hits; says whether there was anything to do.
        hits: Stages and commands that it fits.
        weight: How often it is made, beside the others of its group.
    """

    name: str
    trial: Callable[[World, str, Command], bool]
    hits: Callable[[World], list[Command]] = lambda world: world.commands
    weight: float = 1.0


class Group(NamedTuple):
    """Kinds that share a number of trials.

    Attributes:
        number: How many are made if nothing else is asked for.
        help: What they are.
        kinds: Makes the list of them.
    """

    number: int
    help: str
    kinds: Callable[[], list[Kind]]


def _kills() -> list[Kind]:
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    return [
        Kind("kill at a change", stress_kills.at_a_change, weight=9),
        *(Kind(f"{each.name} at a random time", stress_kills.by_signal) for each in numbers),
        Kind(
            "kill of one of two ranks",
            stress_kills.of_a_rank,
            lambda world: world.named(*stress_kills.SHARED),
            weight=12,
        ),
    ]


def _corruptions() -> list[Kind]:
    def read(world: World) -> list[Command]:
        return list(dict.fromkeys(one for one, _ in world.pairs()))

    return [Kind(name, stress_corruptions.corrupt, read) for name in DAMAGES]


def _refusals() -> list[Kind]:
    found = [
        Kind(f"{errno.errorcode[each]} from a change on", stress_refusals.from_a_change)
        for each in stress_refusals.REFUSALS
    ]
    found.append(Kind("no file above a size", stress_refusals.above_a_size, weight=2))
    found.append(Kind("wrong clock", stress_refusals.with_a_wrong_clock))
    if stress_refusals.may_mount():
        found.append(Kind("small disk", stress_refusals.on_a_small_disk, weight=3))
        found.append(Kind("read-only disk", stress_refusals.on_a_read_only_disk))
        found.append(Kind("no rights to write", stress_refusals.without_rights))
    return found


def _repairs() -> list[Kind]:
    names = ("repair of features", "kill of a repair", "repair by two ranks")
    command = stress_corruptions.repair_command()
    return [Kind(name, stress_corruptions.repair, lambda _: [command]) for name in names]


def _at_once() -> list[Kind]:
    def replaced(world: World) -> list[Command]:
        return list(dict.fromkeys(one for one, _ in world.pairs("ltood ")))

    return [
        Kind("two writers at once", stress_writers.two_writers),
        Kind("two machines at once", stress_writers.two_machines),
        Kind("read during a replace", stress_writers.read_during_replace, replaced, weight=2),
    ]


GROUPS = {
    "kills": Group(500, "kills of processes and ranks", _kills),
    "corruptions": Group(500, "damaged files", _corruptions),
    "refusals": Group(300, "full, read-only, failing disks; wrong clocks", _refusals),
    "repairs": Group(50, "`ltood store repair`", _repairs),
    "pairs": Group(80, "two writers; readers in a replace", _at_once),
}
