"""All methods by `ltood compare`, beside three single methods of pytorch-ood.

    /tmp/peers/bin/python benchmarks/compare_all.py [--sets A B] [--threads 1]

The sets of `peers.py`, the 20,000 test rows taken half as ID test and half as an OOD set. Ours is
one command on a feature store, from start to the leaderboard on disk, start-up, reading and metrics
included. The peer fits and scores the same rows in memory. Processor seconds of all threads. The
table goes to docs/results/compare-all.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from peer_pairs import SETS, TEST_ROWS, Data

RESULT = Path(__file__).parents[1] / "docs" / "results" / "compare-all.md"
PEERS = ("mahalanobis", "relative_mahalanobis", "knn")


def write_archives(name: str, folder: Path) -> None:
    """The rows of one set as `ltood import` reads them."""
    import numpy as np

    data = Data(name)
    half = TEST_ROWS // 2
    splits = {"train": data.train, "test": data.test[:half], "ood_half": data.test[half:]}
    labels = {"train": data.labels, "test": data.labels[:half]}
    for name, rows in splits.items():
        arrays = {"features": rows.numpy()}
        if name in labels:
            arrays["labels"] = labels[name].numpy()
        np.savez(folder / f"{name}.npz", **arrays)
    np.savez(folder / "head.npz", weight=data.head.weight.numpy(), bias=data.head.bias.numpy())


def children() -> float:
    """Processor seconds of all processes that ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ltood(*arguments: object) -> tuple[float, float]:
    """Processor and wall seconds of one command."""
    before, start = children(), time.perf_counter()
    command = [sys.executable, "-c", "from ltood.cli import main; main()", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return children() - before, time.perf_counter() - start


def compared(name: str, folder: Path) -> tuple[int, float, float]:
    """Number of methods on the leaderboard, processor and wall seconds."""
    archives = folder / "archives"
    archives.mkdir()
    write_archives(name, archives)
    ltood("import", archives, "--store", folder / "store.zarr")
    used, wall = ltood("compare", "--store", folder / "store.zarr", "--out", folder / "board")
    rows = json.loads((folder / "board" / "leaderboard.json").read_text())["rows"]
    return sum(row["status"] == "ok" for row in rows), used, wall


def peer(name: str, method: str, scores: Path) -> tuple[float, float]:
    """Processor and wall seconds of one method of the peer."""
    script = Path(__file__).with_name("peers.py")
    command = [sys.executable, script, "--worker", name, method, "peer", scores]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures = json.loads(text.splitlines()[-1])
    return figures["fit"] + figures["score"], figures["wall"]


def main() -> None:
    """Measure both sides and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    lines = []
    for name in options.sets:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            num, used, wall = compared(name, folder)
            shape = SETS[name]
            size = f"{shape.rows:,} x {shape.dim:,}, {shape.classes:,} classes"
            lines.append(f"| {size} | ltood compare, {num} methods | {used:.0f} | {wall:.0f} |")
            print(lines[-1], flush=True)
            total = 0.0
            for method in PEERS:
                seconds, wall = peer(name, method, folder / "scores.npy")
                total += seconds
                lines.append(f"| | pytorch-ood, {method} | {seconds:.1f} | {wall:.1f} |")
                print(lines[-1], flush=True)
            lines.append(f"| | all of ours over these three | {used / total:.2f} | |")
            print(lines[-1], flush=True)
    page = [
        f"# Comparing all methods, beside three of pytorch-ood {version('pytorch-ood')}",
        "",
        f"{TEST_ROWS:,} test rows, {options.threads} thread(s), processor and wall seconds. Ours",
        "is the whole command on a feature store, with start-up, reading, metrics and the",
        "leaderboard; the peer's is fit and score in memory alone. Where it would need minutes, it",
        "scored 200 rows and its time was multiplied up.",
        "",
        "| training set | | processor s | wall s |",
        "|---|---|---:|---:|",
        *lines,
        "",
        "`python benchmarks/compare_all.py` in an environment with pytorch-ood writes this page.",
        "",
    ]
    RESULT.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
