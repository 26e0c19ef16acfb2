"""Trials of `stress.py`: damaged results and their readers, and repairs of stores."""

from pathlib import Path

from benchmarks.stress_damage import DAMAGES, Places, chunk_of
from benchmarks.stress_kills import worst
from benchmarks.stress_processes import (
    Fault,
    kill_self,
    run,
    start_ranks,
    wait_ranks,
)
from benchmarks.stress_repository import UNFINISHED, Command, content, remove
from benchmarks.stress_world import World

_FEATURES = "data/work/features.zarr"
#: Damage of more than one chunk.
_SPREADING = ("swapped files", "folder of another run")
_VERIFY = "ltood store verify"
#: Files that are tried until a kind of damage changes one.
_TRIES = 40


def corrupt(world: World, kind: str, producer: Command) -> bool:
    """Damage a file of a result, run what reads it, then do what messages say."""
    reader = world.random.choice([two for one, two in world.pairs() if one == producer])
    if reader == producer:  # It reads what it left when it was killed.
        damaged: tuple[str, ...] = (UNFINISHED[producer.name],)
        world.prepare(producer, over=False)
        run(world.place, producer, Fault(world.moment(producer), kill_self))
    else:
        damaged = producer.outs
        world.fresh()
    name = _damage(world, kind, sorted(content(world.place, damaged)))
    if not name:
        return False
    what = f"{kind} {name}, read by {reader.name}"
    remove(*(world.place / out for out in reader.outs if out not in damaged))
    first = run(world.place, reader)
    if first.kind != "refused":
        same = world.is_right(reader)
        if reader.name == _VERIFY:
            same = content(world.place, damaged) == content(world.whole, damaged)
        end = ("held" if same else "silent") if first.kind == "done" else first.kind
        world.results.add(kind, producer.name, end, f"{what}: {first.text[-900:]}")
        return True
    remove(*(world.place / out for out in (*damaged, *reader.outs)))
    again = [run(world.place, each) for each in dict.fromkeys((producer, reader))]
    healed = world.is_right(reader) and again[-1].kind == "done"
    words = [each.text[-500:] for each in (first, *again)]
    end = "refused, healed" if healed else "lost"
    world.results.add(kind, producer.name, end, f"{what}: {words}")
    return True


def repair(world: World, kind: str, command: Command) -> bool:
    """Damage chunks of the features, kill a repair where the kind says so, and let it end."""
    world.fresh()
    files = sorted(content(world.place, (_FEATURES,)))
    chunks = [name for name in files if chunk_of(name)]
    kinds = [each for each in DAMAGES if each not in _SPREADING]
    damages = [world.random.choice(kinds) for _ in range(world.random.randint(1, 3))]
    found = [(each, _damage(world, each, chunks)) for each in damages]
    damaged = {chunk_of(name) for _, name in found if name}
    if not damaged:
        return False
    before = {name: _mark(world.place / name) for name in files}
    what = str(found)
    if kind.startswith("kill"):
        at = world.random.randint(1, 12)
        what += f", killed at change {at}"
        run(world.place, command, Fault(at, kill_self))
    ended = (
        wait_ranks(start_ranks(world.place, command, (Fault(), Fault())))
        if kind.endswith("two ranks")
        else [run(world.place, command)]
    )
    end = worst(ended)
    if end == "held" and content(world.place, (_FEATURES,)) != content(world.whole, (_FEATURES,)):
        end = "silent"
    again = [n for n in files if chunk_of(n) not in damaged and _mark(world.place / n) != before[n]]
    if end == "held" and again:
        end = "too much again"
    world.results.add(kind, command.name, end, f"{what}: {again[:3]} {ended[0].text[-900:]}")
    return True


def repair_command() -> Command:
    """`ltood store repair` of the features."""
    words = ("store", "repair", _FEATURES, "--device", "cpu")
    return Command("ltood store repair", words, (), ())


def _damage(world: World, kind: str, files: list[str]) -> str:
    """Damage one of these files; its name, empty where that kind of damage changes none."""
    places = Places(world.place, world.other, world.whole, world.random)
    for name in world.random.sample(files, min(len(files), _TRIES)):
        if (world.place / name).is_file() and DAMAGES[kind](places, name, files):
            return name
    return ""


def _mark(path: Path) -> tuple[int, int] | None:
    """What tells that a file was written again."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None
