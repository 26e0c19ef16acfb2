"""Stage two at ImageNet's size: Mahalanobis and nearest neighbours beside their rooflines."""

import shutil
import time

import torch

from benchmarks.gpu.acceptance import Acceptance
from benchmarks.gpu.stores import random_store
from ltood.core.building import EntrySpec, build_method
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession, fit_method
from ltood.store.features import FeatureStore

ROWS, DIM, CLASSES = 1_281_167, 2_048, 1_000
#: Passes over the training rows.
PASSES = {"mahalanobis": 2, "knn": 1}
#: Memory that a fit may take of the card: what does not grow with the rows, in GiB.
FIT_GIB = 4.0


def imagenet(run: Acceptance) -> None:
    """Fit and score on a store of ImageNet's size, or as much of it as there is room for."""
    bytes_of_row = 2 * (DIM + CLASSES) + 16
    room = shutil.disk_usage(run.folder).free // 2
    rows = run.size(min(ROWS, room // bytes_of_row), 400)
    dim, classes = run.size(DIM, 16), run.size(CLASSES, 8)
    store = FeatureStore.open(random_store(run.folder / "imagenet.zarr", rows, dim, classes))
    reading = _reading_rate(store, rows, dim)
    run.say(
        "note", "reading", f"{reading / 1e9:.2f} GB/s of {rows:,} rows of {dim} float16 features"
    )
    for name, passes in PASSES.items():
        with run.part(f"{name} on {rows:,} rows"):
            _method(run, store, name, rows, dim, passes * rows * dim * 2 / reading)


def _reading_rate(store: FeatureStore, rows: int, dim: int) -> float:
    """Bytes a second at which the training features come from the store."""
    for _ in range(2):  # The first pass compares checksums.
        start = time.perf_counter()
        for first in range(0, rows, 8_192):
            store.split("train").read("features", first, min(first + 8_192, rows))
        seconds = time.perf_counter() - start
    return rows * dim * 2 / seconds


def _method(
    run: Acceptance, store: FeatureStore, name: str, rows: int, dim: int, reading: float
) -> None:
    """Seconds of fit and score beside the floors of the card and of reading."""
    out = run.folder / "scores.zarr"
    tests = len(store.split("test")) + len(store.split("ood_random"))
    flop = 2.0 * rows * dim * (dim if name == "mahalanobis" else tests)
    kind = "float64" if name == "mahalanobis" else "float32"
    floor = max(
        flop / (run.ceilings.get(kind, 1.0) * 1e12),
        2.0 * rows * dim / (run.ceilings.get("upload", 1.0) * 1e9),
    )

    def score() -> None:
        shutil.rmtree(out, ignore_errors=True)
        splits = ["test", "ood_random"]
        score_store(store, out, EntrySpec(name), splits=splits, device="cuda", overwrite=True)

    seconds = run.clock(score, 1, 1)
    asked = 1.5 * max(floor, reading)
    run.measure(
        f"{name} on {rows:,} x {dim}",
        f"{seconds:.2f} s; floor of the card {floor:.2f} s, of reading {reading:.2f} s",
        f"{asked:.2f} s",
        holds=seconds <= asked,
    )
    if name == "mahalanobis":
        # Not beside what scoring has left behind.
        session = ScoringSession.open(store, "cuda")
        peak = run.peak(lambda: fit_method(session, build_method(EntrySpec(name)))) / (1 << 30)
        run.measure(
            f"memory of a fit of {name}", f"{peak:.2f} GiB", f"{FIT_GIB} GiB", holds=peak <= FIT_GIB
        )
    if not run.pretends:
        torch.cuda.empty_cache()
