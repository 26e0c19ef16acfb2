"""An ensemble of eight members beside `compare` over the same eight, in processor seconds.

    python benchmarks/ensembles_cost.py [--store STORE] [--repeats 3]

Features of the size of CIFAR-10 and a ResNet are drawn unless a store is given. Both sides are one
call of what `ltood compare` runs, metrics included, each in a process of its own; the least
of each counts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMBERS = (
    *("mahalanobis", "relative_mahalanobis", "vim", "knn"),
    *("lts", "fdbd", "gen", "nnguide"),
)
#: Rows of each split, feature width and classes of the drawn store.
ROWS = {"train": 50_000, "val": 5_000, "test": 5_000, "ood_a": 10_000, "ood_b": 26_000}
WIDTH, CLASSES = 512, 10


def draw(store: Path) -> None:
    """Write a store of rows around one centre for each class; OOD rows are mixtures."""
    import numpy as np

    from ltood.store.exchange import import_folder

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, rows in ROWS.items():
            labels = rng.integers(CLASSES, size=rows)
            means = centres[labels]
            if split.startswith("ood_"):
                means = (means + centres[rng.integers(CLASSES, size=rows)]) / 2
            noise = rng.standard_normal((rows, WIDTH), dtype=np.float32)
            arrays = {"features": np.maximum(means + noise, 0)}
            if not split.startswith("ood_"):
                arrays["labels"] = labels
            np.savez(folder / f"{split}.npz", **arrays)
        weight = (centres - centres.mean(0)) / WIDTH**0.5
        np.savez(folder / "head.npz", weight=weight, bias=-(weight * centres).sum(1) / 2)
        import_folder(folder, store)


def work(store: Path, which: str) -> None:
    """Compare with eight methods, the ensemble of the eight, or both; print processor seconds."""
    from ltood.comparing.plan import Config
    from ltood.comparing.running import compare
    from ltood.store.features import FeatureStore

    methods = {"members": MEMBERS, "ensemble": ("ensemble",), "both": (*MEMBERS, "ensemble")}
    settings = {"methods": {"ensemble": {"members": list(MEMBERS)}}}
    start = time.process_time()
    board, _ = compare(FeatureStore.open(store), Config(methods[which]), settings, device="cpu")
    used = time.process_time() - start
    assert all(row["status"] == "ok" for row in board["rows"]), board["rows"]
    print(used)


def measured(store: Path, which: str) -> float:
    """Processor seconds of one run in a process of its own."""
    command = [sys.executable, __file__, "--store", str(store), "--work", which]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(text.stdout.split()[-1])


def main() -> None:
    """Measure all three in turns and print the least of each, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.store, given.work)
        return
    with tempfile.TemporaryDirectory() as name:
        store = given.store or Path(name) / "features.zarr"
        if given.store is None:
            draw(store)
        seconds: dict[str, list[float]] = {"members": [], "ensemble": [], "both": []}
        for _ in range(given.repeats):
            for which, found in seconds.items():
                found.append(measured(store, which))
    least = {which: min(found) for which, found in seconds.items()}
    for which, used in least.items():
        print(f"{which:<9} {used:8.1f} s  {used / least['members']:.3f} x")


if __name__ == "__main__":
    main()
