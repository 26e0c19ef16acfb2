"""Peak memory of stage two: scoring any number of rows, and fitting on ImageNet's size.

    python benchmarks/memory.py [--folder FOLDER] [--threads 1]

Writes stores of random features to FOLDER (a temporary one by default; at most about
2 GiB at a time, removed afterwards) and measures fresh processes, each with its own peak:

- scoring a test split of 20,000, 80,000 and 320,000 rows of 512 features; from the second
  to the third, when as many chunks are mapped as ever are, the peak must not grow by more
  than 64 MiB, a quarter of what the rows take;
- fitting on 65,536 and 131,072 training rows of 2,048 features in 1,000 classes. Time
  grows by the same amount for each row, so the two give that for all 1,281,167 rows of
  ImageNet; the peak must stay below 4 GiB and may not grow with the rows.

The table goes to docs/results/memory.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ltood.core.building import EntrySpec, build_method
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession, fit_method
from ltood.store.features import FeatureStore, FeatureWriter
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec

RESULT = Path(__file__).parents[1] / "docs" / "results" / "memory.md"
IMAGENET_ROWS = 1_281_167
TEST_ROWS = (20_000, 80_000, 320_000)
TRAIN_ROWS = (65_536, 131_072)
SCORED = ("energy", "mahalanobis", "knn", "himplos")
FITTED = ("mahalanobis", "relative_mahalanobis", "vim", "react", "himplos")
GROWTH_MIB = 64
LIMIT_MIB = 4096


def write_store(path: Path, sizes: dict[str, int], dim: int, classes: int) -> None:
    """Write a feature store of random rows.

    Args:
        path: Folder to create.
        sizes: Rows of each split.
        dim: Feature width D.
        classes: Number of classes C.
    """
    random = np.random.default_rng(0)
    arrays = {
        "features": ArraySpec("float16", (dim,)),
        "logits": ArraySpec("float16", (classes,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    spec = StoreSpec({name: SplitSpec(rows, arrays) for name, rows in sizes.items()})
    weight = random.standard_normal((classes, dim), dtype=np.float32) / dim**0.5
    head = {"weight": weight, "bias": np.zeros(classes, dtype=np.float32)}
    counts = np.bincount(np.arange(sizes["train"]) % classes, minlength=classes)
    names = [str(label) for label in range(classes)]
    writer = FeatureWriter.create(path, spec, {"source": "random"}, head, names, counts)
    for split in sizes:
        for start, stop in writer.missing(split):
            features = random.standard_normal((stop - start, dim), dtype=np.float32)
            np.maximum(features, 0, out=features)
            ids = np.arange(start, stop)
            rows = {
                "features": features.astype(np.float16),
                "logits": (features @ weight.T).astype(np.float16),
                "labels": ids % classes,
                "ids": ids,
            }
            writer.write(split, start, rows)
    writer.finish()


def work(task: str, method: str, store: str) -> None:
    """Fit or score in this process, and print processor seconds and peak MiB as JSON."""
    opened = FeatureStore.open(store)
    start = time.process_time()
    if task == "fit":
        fit_method(ScoringSession.open(opened, "cpu"), build_method(EntrySpec(method)))
    else:
        score_store(
            opened, Path(f"{store}-{method}"), EntrySpec(method), splits=["test"], device="cpu"
        )
    seconds = time.process_time() - start
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak": int(peak.split()[1]) / 1024}))


def _measure(task: str, method: str, store: Path, threads: int) -> dict[str, float]:
    finished = subprocess.run(
        [sys.executable, __file__, "--worker", task, method, str(store)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return figures


def measure_scoring(folder: Path, threads: int) -> tuple[list[str], list[str]]:
    """Lines of the scoring table, and what is wrong with them."""
    peaks: dict[str, list[float]] = {method: [] for method in SCORED}
    for rows in TEST_ROWS:
        store = folder / f"score-{rows}"
        write_store(store, {"train": 10_000, "test": rows}, 512, 100)
        for method in SCORED:
            peaks[method].append(_measure("score", method, store, threads)["peak"])
            print(f"score {method} {rows} rows: {peaks[method][-1]:.0f} MiB", flush=True)
        for path in folder.glob(f"{store.name}*"):
            shutil.rmtree(path)
    lines = [
        f"| {method} | " + " | ".join(f"{peak:.0f}" for peak in found) + " |"
        for method, found in peaks.items()
    ]
    faults = [
        f"{method} grows with the test rows: {found}"
        for method, found in peaks.items()
        if found[-1] - found[1] > GROWTH_MIB
    ]
    return lines, faults


def measure_fitting(folder: Path, threads: int) -> tuple[list[str], list[str]]:
    """Lines of the fitting table, and what is wrong with them."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in FITTED}
    for rows in TRAIN_ROWS:
        store = folder / f"fit-{rows}"
        write_store(store, {"train": rows, "test": 1000}, 2048, 1000)
        for method in FITTED:
            found[method].append(_measure("fit", method, store, threads))
            print(f"fit {method} {rows} rows: {found[method][-1]}", flush=True)
        shutil.rmtree(store)
    lines, faults = [], []
    for method, (small, large) in found.items():
        per_row = (large["seconds"] - small["seconds"]) / (TRAIN_ROWS[1] - TRAIN_ROWS[0])
        full = large["seconds"] + per_row * (IMAGENET_ROWS - TRAIN_ROWS[1])
        lines.append(
            f"| {method} | {small['peak']:.0f} | {large['peak']:.0f} | {small['seconds']:.1f} | "
            f"{large['seconds']:.1f} | {full / 60:.1f} |"
        )
        if large["peak"] > LIMIT_MIB or large["peak"] - small["peak"] > GROWTH_MIB:
            faults.append(f"{method} needs {small['peak']:.0f}, then {large['peak']:.0f} MiB")
    return lines, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        scored, faults = measure_scoring(Path(temporary), options.threads)
        fitted, more = measure_fitting(Path(temporary), options.threads)
    faults += more
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(_page(scored, fitted, options.threads), encoding="utf-8")
    print("\n".join(faults) or f"all within bounds; wrote {RESULT}")
    return 1 if faults else 0


def _page(scored: list[str], fitted: list[str], threads: int) -> str:
    def table(*columns: Any) -> list[str]:
        return ["| " + " | ".join(map(str, columns)) + " |", "|---" * len(columns) + "|"]

    rows = [f"{count:,} rows" for count in TEST_ROWS]
    small, large = (f"{count:,} rows" for count in TRAIN_ROWS)
    return "\n".join(
        [
            "# Memory of stage two",
            "",
            "Peak resident memory of a whole process, in MiB, interpreter and libraries included,",
            f"on a processor with {threads} thread(s); features of random numbers.",
            "",
            "## Scoring does not grow with the rows",
            "",
            "A test split of 512 features and 100 classes, a training split of 10,000 rows; fit",
            "and score together. The first column holds fewer chunks of the store mapped than",
            "the others do; those are pages of files, which the system takes back when it needs",
            "them.",
            "",
            *table("Method", *rows),
            *scored,
            "",
            "## Fitting reads the training rows in batches",
            "",
            "A training split of 2,048 features and 1,000 classes, as of a ResNet-50 on ImageNet.",
            "Seconds are processor time; the last column continues the line through the two to",
            f"ImageNet's {IMAGENET_ROWS:,} rows, where memory stays what it is here.",
            "",
            *table(
                "Method",
                f"MiB, {small}",
                f"MiB, {large}",
                f"s, {small}",
                f"s, {large}",
                "minutes for ImageNet",
            ),
            *fitted,
            "",
            "Methods that search the training rows themselves, such as knn, keep all of them, in a",
            f"temporary file where they are large: {IMAGENET_ROWS * 2048 * 4 / 2**30:.1f} GiB "
            "([all methods](imagenet-sized.md)).",
            "",
        ]
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:5])
    else:
        sys.exit(main())
