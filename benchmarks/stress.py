"""Kills, refusals of the system and corruptions, over all stages and commands.

    python -m benchmarks.stress --kills 500 --corruptions 500

Each trial breaks a copy of a small repository, runs again what was broken, and compares with an
unbroken run byte for byte. Ends: `held` the same bytes after the rerun; `refused, healed` a
sentence, and the same bytes once the damaged result was made again; `silent` other bytes without
a word, `traceback`, `hang` and `lost` must not be. Trials follow from `--seed`, but for moments
of signals. Every kind is tried on every stage and command that it fits before any pair comes a
second time. With `--record`, trials of earlier runs count as well. The exit code is 1 where this
run met faults.
"""

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.stress_kinds import GROUPS, Kind
from benchmarks.stress_processes import load_everything
from benchmarks.stress_repository import HERE, Command
from benchmarks.stress_results import BAD, Results, page, read
from benchmarks.stress_world import World

RESULT = HERE / "docs" / "results" / "stress.md"


class Pair(NamedTuple):
    """A kind of trial, and a command that it hits."""

    kind: Kind
    command: Command


def main() -> None:
    """Run the trials and write the page."""
    given = _parser().parse_args()
    load_everything()
    with tempfile.TemporaryDirectory() as folder:
        given.record = given.record or Path(folder, "record.jsonl")
        earlier = len(read(given.record))
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(given.jobs, context) as pool:
            list(pool.map(trials, [given] * given.jobs, range(given.jobs)))
        found = read(given.record)
    given.page.write_text(page(found))
    sys.exit(any(trial.end in BAD for trial in found[earlier:]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, group in GROUPS.items():
        parser.add_argument(f"--{name}", type=int, default=group.number, help=group.help)
    parser.add_argument("--only", help="kinds of trials whose names hold this text")
    parser.add_argument("--hit", nargs="+", help="stages and commands that are hit alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes, with seeds of their own")
    parser.add_argument("--minutes", type=float, default=600, help="begin no trial after these")
    parser.add_argument(
        "--folder", type=Path, help="where copies are made; a disk in memory is quick"
    )
    parser.add_argument("--record", type=Path, help="file with a line of each trial, added to")
    parser.add_argument("--page", type=Path, default=RESULT)
    return parser


def trials(given: argparse.Namespace, job: int) -> None:
    """One process's share of the trials, in random order."""
    if not any(getattr(given, name) for name in GROUPS):
        return
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        results = Results(given.record, given.seed)
        world = World(Path(folder), 1000 * given.seed + job, results)
        share = plan(given, world)[job :: given.jobs]
        for number, (name, pair) in enumerate(share, 1):
            for kind, command in _until_counted(given, name, pair, world):
                if time.monotonic() - begun > 60 * given.minutes:
                    return
                if kind.trial(world, kind.name, command):
                    break
            if number % 25 == 0:
                print(f"process {job}: {number} of {len(share)}", flush=True)


def plan(given: argparse.Namespace, world: World) -> list[tuple[str, Pair]]:
    """What to try, with the group it counts for; the same in every process.

    Every pair of a group comes once before chance has its way, also in a run that is cut short.
    """
    rng, once, more = random.Random(given.seed), list[tuple[str, Pair]](), list[tuple[str, Pair]]()
    for name in GROUPS:
        pairs = _pairs(name, given, world)
        rng.shuffle(pairs)
        number = getattr(given, name)
        once += [(name, pair) for pair in pairs[:number]]
        if len(pairs) < number and pairs:
            weights = [pair.kind.weight for pair in pairs]
            rest = rng.choices(pairs, weights, k=number - len(pairs))
            more += [(name, pair) for pair in rest]
    rng.shuffle(once)
    rng.shuffle(more)
    return [*once, *more]


def _pairs(name: str, given: argparse.Namespace, world: World) -> list[Pair]:
    return [
        Pair(kind, command)
        for kind in GROUPS[name].kinds()
        if not given.only or given.only in kind.name
        for command in kind.hits(world)
        if not given.hit or command.name in given.hit
    ]


def _until_counted(
    given: argparse.Namespace, name: str, pair: Pair, world: World
) -> Iterator[Pair]:
    """The pair, and others of its group where there was nothing to damage."""
    yield pair
    others = _pairs(name, given, world)
    for _ in range(100):
        yield world.random.choice(others)


if __name__ == "__main__":
    main()
