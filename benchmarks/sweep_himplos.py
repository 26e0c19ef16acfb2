"""A thousand HIMPLoS settings in one sweep, beside running the method once for each.

    python benchmarks/sweep_himplos.py

50,000 rows of 512 features and 100 classes are scored (10,000 val, 40,000 aux), 50,000
more are learned from. Prints wall and processor seconds and the largest memory in use; the
single runs are few and multiplied, in this process and as commands of their own.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ltood.core.building import EntrySpec
from ltood.scoring.run import score_store
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.sweeping.candidates import grid_candidates
from ltood.sweeping.searching import sweep
from ltood.sweeping.writing import write_sweep

DIM, CLASSES = 512, 100
ROWS = {"train": 50_000, "val": 10_000, "aux": 40_000}
CANDIDATES = grid_candidates(
    {
        "percentile": [float(value) for value in np.linspace(0, 95, 50)],
        "clip": [*(round(0.2 * step, 1) for step in range(1, 20)), None],
    }
)
SINGLE = 5
COMMAND = [sys.executable, "-c", "from ltood.cli import main; main()", "score", "--device", "cpu"]


def main() -> None:
    assert len(CANDIDATES) == 1000
    print(f"{torch.get_num_threads()} threads")
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(folder)
        before = resident_gib()
        start = clocks()
        result = sweep(store, "himplos", CANDIDATES, device="cpu")
        wall, cpu = clocks() - start
        print(f"sweep of {len(CANDIDATES)}: {wall:.1f} s wall, {cpu:.1f} s processor")
        print(f"memory: {before:.2f} GiB before, {resident_gib():.2f} GiB at most")
        start = clocks()
        write_sweep(folder / "out", result)
        print(f"files: {(clocks() - start)[1]:.1f} s processor")
        for title, run in (("in this process", in_process), ("as commands", as_command)):
            start = clocks()
            for candidate in CANDIDATES[:: len(CANDIDATES) // SINGLE]:
                run(store, candidate, folder / "scores.zarr")
            each_wall, each_cpu = (clocks() - start) / SINGLE
            print(
                f"single runs {title}: {each_wall:.2f} s wall, {each_cpu:.2f} s processor each; "
                f"{len(CANDIDATES)} take {len(CANDIDATES) * each_wall / wall:.0f} times the wall "
                f"and {len(CANDIDATES) * each_cpu / cpu:.0f} times the processor seconds"
            )


def clocks() -> np.ndarray:
    """Wall seconds, and processor seconds of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(item.ru_utime + item.ru_stime for item in used)])


def in_process(store: FeatureStore, candidate: dict, out: Path) -> None:
    choice = EntrySpec("himplos", candidate)
    score_store(store, out, choice, splits=["val", "aux"], device="cpu", overwrite=True)


def as_command(store: FeatureStore, candidate: dict, out: Path) -> None:
    settings = [
        part
        for key, value in candidate.items()
        for part in ("--set", f"{key}={'null' if value is None else value}")
    ]
    places = ["--store", str(store.path), "--out", str(out), "--overwrite"]
    splits = ["--split", "val", "--split", "aux", "--method", "himplos"]
    subprocess.run([*COMMAND, *places, *splits, *settings], check=True, capture_output=True)


def make_store(folder: Path) -> FeatureStore:
    """Rectified features around one direction per class, outliers between two classes."""
    rng = np.random.default_rng(0)
    arrays = folder / "arrays"
    arrays.mkdir()
    weight = rng.normal(size=(CLASSES, DIM)).astype(np.float32) / np.sqrt(DIM)
    np.savez(arrays / "head.npz", weight=weight, bias=np.zeros(CLASSES, np.float32))
    for name, rows in ROWS.items():
        labels = rng.integers(0, CLASSES, rows)
        means = 12 * weight[labels]
        if name == "aux":
            means = (means + 12 * weight[rng.integers(0, CLASSES, rows)]) / 2
        features = np.maximum(means + rng.normal(size=(rows, DIM)).astype(np.float32), 0)
        known = {} if name == "aux" else {"labels": labels}
        np.savez(arrays / f"{name}.npz", features=features, **known)
    return import_folder(arrays, folder / "features.zarr")


def resident_gib() -> float:
    """Largest memory in use so far; counts pages of the store that are mapped."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
