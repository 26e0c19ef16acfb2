"""Our methods beside those of pytorch-ood: same features, same threads, same run.

    uv venv /tmp/peers && uv pip install --python /tmp/peers -e . --group peers
    /tmp/peers/bin/python benchmarks/peers.py [--only knn vim] [--sets A] [--threads 1]

Set A: 50,000 training rows of 512 features in 100 classes; set B: 20,000 rows of 2,048
features in 1,000 classes; 20,000 test rows each. Every pair of set, method and library
gets a process of its own, ours right before theirs. Each repeats fit and score three
times, or once where a repetition takes more than 15 processor seconds, and reports the
medians. Both libraries get arrays in memory: logits where a method reads nothing else,
features where it reads those, and then its logits are computed within the time. We score
in batches as `ltood score` does, the peer in one call, which suits it best. Where the
peer would need minutes it scores fewer rows, and its time for scoring (not for fitting)
is multiplied up; the page says where. Tables go to docs/results/peers.md.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from peer_pairs import (
    METHODS,
    OTHER_DEFINITION,
    PEER_ROWS,
    SETS,
    TEST_ROWS,
    Data,
    Runner,
    ours,
    theirs,
)

RESULT = Path(__file__).parents[1] / "docs" / "results" / "peers.md"
REPEATS = 3
SLOW_SECONDS = 15.0


def work(name: str, method: str, library: str, scores_file: str) -> None:
    """Measure one method in this process and print the figures as JSON."""
    data = Data(name)
    rows = PEER_ROWS.get((name, method), TEST_ROWS) if library == "peer" else TEST_ROWS
    fit, score = (ours if library == "ltood" else theirs)(method, data)
    if library == "peer":
        # Imports that the peer puts off belong to no method.
        import_module("sklearn.neighbors")
    repeat((fit, score), rows, scores_file)


def repeat(runner: Runner, rows: int, scores_file: str) -> None:
    """Time fit and score, print medians for all test rows as JSON and keep the scores."""
    import numpy as np
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    fit, score = runner
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    laps = []
    with torch.no_grad():
        for _ in range(REPEATS):
            start = _clock()
            detector = fit()
            middle = _clock()
            scores = score(detector, rows)
            end = _clock()
            scale = TEST_ROWS / rows
            laps.append(
                {
                    "fit": middle[0] - start[0],
                    "score": (end[0] - middle[0]) * scale,
                    "wall": middle[1] - start[1] + (end[1] - middle[1]) * scale,
                }
            )
            if end[0] - start[0] > SLOW_SECONDS:
                break
    np.save(scores_file, np.asarray(scores, dtype=np.float64))
    figures = {key: statistics.median(lap[key] for lap in laps) for key in laps[0]}
    figures["memory"] = _memory("VmHWM") - before
    figures["rows"] = rows
    print(json.dumps(figures))


def _clock() -> tuple[float, float]:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime, time.perf_counter()


def _memory(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def compare(
    script: str, name: str, method: str, folder: Path, threads: int
) -> tuple[list[str], float]:
    """Run both libraries as workers of a script.

    Returns:
        The cells from the method on, and how many times faster ours is.
    """
    mine = _measure(script, name, method, "ltood", folder, threads)
    peer = _measure(script, name, method, "peer", folder, threads)
    ratio = (peer["fit"] + peer["score"]) / (mine["fit"] + mine["score"])
    mark = "" if peer["rows"] == TEST_ROWS else f" ({peer['rows']:.0f} rows, scaled)"
    cells = [
        method,
        f"{mine['fit']:.3g} + {mine['score']:.3g}",
        f"{peer['fit']:.3g} + {peer['score']:.3g}{mark}",
        f"**{ratio:.3g}**",
        f"{peer['wall'] / mine['wall']:.3g}",
        f"{mine['memory']:.0f}",
        f"{peer['memory']:.0f}",
        f"{_agreement(folder, name, method):.6f}",
    ]
    return cells, ratio


def _measure(
    script: str, name: str, method: str, library: str, folder: Path, threads: int
) -> dict[str, float]:
    target = folder / f"{name}-{method}-{library}.npy"
    finished = subprocess.run(
        [sys.executable, script, "--worker", name, method, library, str(target)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return figures


def _agreement(folder: Path, name: str, method: str) -> float:
    """Correlation of ranks on the rows that both scored."""
    import numpy as np

    mine = np.load(folder / f"{name}-{method}-ltood.npy")
    peer = np.load(folder / f"{name}-{method}-peer.npy")
    ranks = [np.argsort(np.argsort(scores)) for scores in (mine[: len(peer)], peer)]
    return float(np.corrcoef(np.stack(ranks)).ravel()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    lines, ratios = compare_all(__file__, options.sets, options.only, options.threads)
    if tuple(options.only) == METHODS and options.sets == sorted(SETS):
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        peer = f"pytorch-ood {version('pytorch-ood')}"
        text = page(peer, _about(), (lines, ratios), options.threads)
        RESULT.write_text(text, encoding="utf-8")


def compare_all(
    script: str, sets: Sequence[str], methods: Sequence[str], threads: int
) -> tuple[list[str], dict[str, list[float]]]:
    """Lines of a table, and for each set how many times faster ours are; see `compare`."""
    lines = []
    ratios: dict[str, list[float]] = {name: [] for name in sets}
    with tempfile.TemporaryDirectory() as temporary:
        for name in sets:
            for method in methods:
                cells, ratio = compare(script, name, method, Path(temporary), threads)
                ratios[name].append(ratio)
                lines.append("| " + " | ".join([name, *cells]) + " |")
                print(lines[-1], flush=True)
    return lines, ratios


def page(
    peer: str,
    about: Sequence[str],
    table: tuple[Sequence[str], dict[str, list[float]]],
    threads: int,
) -> str:
    """A page in Markdown.

    Args:
        peer: The other library; its first word names its columns.
        about: What to say of it, before the table.
        table: What `compare_all` gives.
        threads: Threads of both.
    """
    lines, ratios = table
    sizes = [
        f"- Set {name}: {shape.rows:,} training rows of {shape.dim:,} features in "
        f"{shape.classes:,} classes, {TEST_ROWS:,} test rows."
        for name, shape in SETS.items()
        if name in ratios
    ]
    medians = ", ".join(
        f"{statistics.median(values):.1f} on set {name}, "
        f"{sum(value >= 1 for value in values)} of {len(values)} at least as fast"
        for name, values in ratios.items()
    )
    library = peer.split()[0]
    return "\n".join(
        [
            f"# Beside {peer}",
            "",
            *sizes,
            "",
            f"**Median of the methods below: times faster {medians}.**",
            "",
            "Random features around class means and a head of nearest means, in memory, on a",
            "processor. Times are processor seconds (user and system) of fit + score with",
            f"{threads} thread(s), the median of {REPEATS} repetitions, or one where it takes more",
            f"than {SLOW_SECONDS:.0f} seconds. The column *wall* gives the ratio of wall times,",
            "which other work on the machine may blur. Memory is the most that fit and score added",
            "to the arrays, in MiB. *Same order* is the correlation of the ranks that the two give",
            "to the test rows. *Scaled*: the peer scored fewer rows, and its time for scoring was",
            "multiplied up.",
            "",
            *about,
            "",
            f"| Set | Method | ltood, s | {library}, s | times faster | wall | ltood, MiB "
            f"| {library}, MiB | same order |",
            "|---|---|---|---|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


def _about() -> list[str]:
    others = [f"- {method}: {reason}." for method, reason in OTHER_DEFINITION.items()]
    return [
        "`python benchmarks/peers.py` in an environment with pytorch-ood writes this page. The",
        "order differs where the definitions do:",
        "",
        *others,
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:6])
    else:
        main()
