"""Kills, refusals of the system and corruptions, over all stages and commands.

    python -m benchmarks.stress --kills 500 --corruptions 500

Each trial breaks a copy of a small repository, runs again what was broken, and compares with an
unbroken run byte for byte. Ends: `held` the same bytes after the rerun; `refused, healed` a
sentence, and the same bytes once the damaged result was made again; `silent` other bytes without
a word, `traceback`, `hang` and `lost` must not be. Trials follow from `--seed`, but for moments
of signals. The page goes to docs/results/stress.md; the exit code is 1 where there are faults.
"""

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.stress_processes import load_everything
from benchmarks.stress_repository import HERE
from benchmarks.stress_trials import BAD, Results, Stress

RESULT = HERE / "docs" / "results" / "stress.md"


def main() -> None:
    """Run the trials and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--corruptions", type=int, default=500)
    parser.add_argument("--refusals", type=int, default=100, help="full, read-only, failing disks")
    parser.add_argument("--repairs", type=int, default=50, help="`ltood store repair`")
    parser.add_argument("--pairs", type=int, default=40, help="two writers; readers in a replace")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where copies are made; a disk in memory is quick"
    )
    parser.add_argument("--page", type=Path, default=RESULT)
    given = parser.parse_args()
    load_everything()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        stress = Stress(Path(folder), given.seed)
        plan = [
            *[stress.kill] * given.kills,
            *[stress.corrupt] * given.corruptions,
            *[stress.refuse] * given.refusals,
            *[stress.repair] * given.repairs,
            *[stress.two_writers] * given.pairs,
            *[stress.read_during_replace] * given.pairs,
        ]
        stress.random.shuffle(plan)
        for number, trial in enumerate(plan, 1):
            trial()
            if number % 25 == 0 or number == len(plan):
                seconds = time.perf_counter() - begun
                given.page.write_text(page(stress.results, given, seconds))
                print(f"{number} of {len(plan)}, {seconds:.0f} s", flush=True)
    sys.exit(1 if stress.results.faults else 0)


def page(results: Results, given: argparse.Namespace, seconds: float) -> str:
    """The page of results as Markdown."""
    ends = sorted({end for counts in results.counts.values() for end in counts} | set(BAD))
    ends.sort(key=lambda end: (end in BAD, end))
    lines = [
        "# Kills, failing disks and corruptions",
        "",
        "Trials of [benchmarks/stress.py](../../benchmarks/stress.py), each compared byte for byte",
        f"with an unbroken run; seed {given.seed}, Python {platform.python_version()}, "
        f"{seconds / 60:.0f} minutes on a processor. What the ends mean stands in the script.",
        "",
        "| trial | number | " + " | ".join(ends) + " |",
        "|---|---:|" + "---:|" * len(ends),
    ]
    for title, counts in sorted(results.counts.items()):
        cells = [f"{counts[end]:,}" for end in ends]
        lines.append(f"| {title} | {counts.total():,} | " + " | ".join(cells) + " |")
    totals = [f"{sum(c[end] for c in results.counts.values()):,}" for end in ends]
    number = sum(counts.total() for counts in results.counts.values())
    lines.append(f"| all | {number:,} | " + " | ".join(totals) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
