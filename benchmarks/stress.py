"""Kills, refusals of the system and corruptions, over all stages and commands.

    python -m benchmarks.stress --kills 500 --corruptions 500

Each trial breaks a copy of a small repository, runs again what was broken, and compares with an
unbroken run byte for byte. Ends: `held` the same bytes after the rerun; `refused, healed` a
sentence, and the same bytes once the damaged result was made again; `silent` other bytes without
a word, `traceback`, `hang` and `lost` must not be. Trials follow from `--seed`, but for moments
of signals. The page goes to docs/results/stress.md; the exit code is 1 where there are faults.
"""

import argparse
import multiprocessing
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.stress_processes import load_everything
from benchmarks.stress_repository import HERE
from benchmarks.stress_trials import BAD, Results, Stress

RESULT = HERE / "docs" / "results" / "stress.md"

LEGEND = (
    "Held: the same bytes after the command ran again. Refused: a sentence, while a result was",
    "being replaced. Refused, healed: a sentence, and the same bytes once the damaged result was",
    "made again. The others must be 0: hang, no end in 90 seconds; lost, not made whole by a",
    "rerun; silent, other bytes without a word; too much again, a repair of more than the damage.",
)


def main() -> None:
    """Run the trials and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--corruptions", type=int, default=500)
    parser.add_argument("--refusals", type=int, default=100, help="full, read-only, failing disks")
    parser.add_argument("--repairs", type=int, default=50, help="`ltood store repair`")
    parser.add_argument("--pairs", type=int, default=40, help="two writers; readers in a replace")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes, with seeds of their own")
    parser.add_argument("--minutes", type=float, default=600, help="begin no trial after these")
    parser.add_argument(
        "--folder", type=Path, help="where copies are made; a disk in memory is quick"
    )
    parser.add_argument("--page", type=Path, default=RESULT)
    given = parser.parse_args()
    load_everything()
    begun, results = time.perf_counter(), Results()
    with ProcessPoolExecutor(given.jobs, multiprocessing.get_context("fork")) as pool:
        for found in pool.map(trials, [given] * given.jobs, range(given.jobs)):
            results.join(found)
    given.page.write_text(page(results, given.seed, time.perf_counter() - begun))
    sys.exit(1 if results.faults else 0)


def trials(given: argparse.Namespace, job: int) -> Results:
    """One process's share of the trials, in random order."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        stress = Stress(Path(folder), 1000 * given.seed + job)
        wanted = {
            stress.kill: given.kills,
            stress.corrupt: given.corruptions,
            stress.refuse: given.refusals,
            stress.repair: given.repairs,
            stress.two_writers: given.pairs,
            stress.read_during_replace: given.pairs,
        }
        plan = [trial for trial, number in wanted.items() for _ in range(job, number, given.jobs)]
        stress.random.shuffle(plan)
        for number, trial in enumerate(plan, 1):
            if time.monotonic() - begun > 60 * given.minutes:
                break
            trial()
            if number % 25 == 0:
                print(f"process {job}: {number} of {len(plan)}", flush=True)
        return stress.results


def page(results: Results, seed: int, seconds: float) -> str:
    """The page of results as Markdown."""
    lines = [
        "# Kills, failing disks and corruptions",
        "",
        "Trials of `python -m benchmarks.stress`, each compared byte for byte",
        f"with an unbroken run; seed {seed}, Python {platform.python_version()}, "
        f"{seconds / 60:.0f} minutes on a processor.",
        "",
        *LEGEND,
        "",
        *table("kind of trial", results.kinds),
        "",
        *table("stage or command that was hit", results.commands),
    ]
    return "\n".join(lines) + "\n"


def table(title: str, rows: Mapping[str, Counter[str]]) -> list[str]:
    """Ends by row, with all trials in the last one."""
    whole = sum(rows.values(), Counter())
    ends = sorted({*whole, *BAD}, key=lambda end: (end in BAD, end))
    lines = [
        f"| {title} | trials | " + " | ".join(ends) + " |",
        "|---|" + "---:|" * (1 + len(ends)),
    ]
    for name, counts in [*sorted(rows.items()), ("all", whole)]:
        cells = (f"{counts[end]:,}" for end in ends)
        lines.append(f"| {name} | {counts.total():,} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
