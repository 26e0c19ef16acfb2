"""Stage two on rows as of ImageNet: time and memory of every method in `compare`.

    /tmp/peers/bin/python benchmarks/imagenet_sized.py [--folder FOLDER] [--threads 1]

Writes two stores of clustered random rows, 2,048 float16 features and logits of 1,000 classes, of
which the second has three times the training rows, and compares each method alone in a process of
its own. Time grows by the same amount for each row, so the two give that for ImageNet's 1,281,167
training rows. Methods that pytorch-ood has, too, run there on the rows of the larger store. At most
1 GiB of disk, removed afterwards; the page is docs/results/imagenet-sized.md. What was measured is
kept in `measured.jsonl` in the folder, so that a second start goes on where the first one ended.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from peer_pairs import METHODS as PEER_METHODS
from peer_pairs import theirs

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.store.features import FeatureStore, FeatureWriter
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec

RESULT = Path(__file__).parents[1] / "docs" / "results" / "imagenet-sized.md"
DIM, CLASSES = 2048, 1000
IMAGENET_ROWS = 1_281_167
ROWS = (8_192, 24_576)
SCORED = {"test": 2_048, "ood_near": 1_024, "ood_far": 1_024}
#: Methods that take no more training rows than this, and so stop growing.
CAPPED = {"weiper_kld": 50_000, "gmm": 32_768}
#: Training rows of the two stores where one row costs much more than of other methods.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weiper_kld": ({"fit_rows": 256}, {"fit_rows": 768})
}
#: Rows that the peer scores where each takes long; its time is multiplied up.
PEER_ROWS = dict.fromkeys(("mahalanobis", "relative_mahalanobis", "dice", "openmax"), 40)
#: Methods whose work for a row changes with the number of rows.
NOT_LINEAR = ("class_gaussian",)
#: Bytes that methods with a bank keep of each training row: its features, and class probabilities.
BANKS = {
    "knn": 4 * DIM,
    "grood": 4 * DIM,
    "nnguide": 4 * DIM,
    "relation": 4 * (DIM + CLASSES),
}
#: Arrays above this lie in a file: the banks of both stores, as those of all rows do by default.
IN_MEMORY_GIB = "0.05"
PAGE = """# Stage two at the size of ImageNet

{small} and {large} training rows of {dim:,} float16 features and {classes:,} logits, clustered
random numbers; {scored:,} rows of a test split and two OOD sets are scored. Processor seconds of
`compare` with one method and {threads} thread(s), reading the store included, while other work kept
the machine busy. Memory is the peak of the process without pages of files, in MiB; 400 are
interpreter and libraries. pytorch-ood fits and scores the {large} rows in memory.

*ImageNet* is not measured: these minutes continue the line through both sizes to {all_rows:,}
training rows, where `gmm` and `weiper_kld` take no more than the rows named below.

| Method | s, small | s, large | minutes, ImageNet | MiB, small | MiB, large | pytorch-ood, s |
|---|---:|---:|---:|---:|---:|---:|
{lines}

{rest}

## Memory

The small store is one batch, the large one three, so most peaks grow by a second batch in flight;
methods of percentiles keep up to 2^26 training activations, 256 MiB, and a histogram of more.
By their code neither grows further, which two sizes cannot show.

Methods that keep the training rows, or a covariance of each class, keep them in a temporary file
where that is larger than 1 GiB ([memory](../how-to/clusters.md#memory-and-cores)); here, where the
banks are small, from {in_memory} GiB on. In GiB at {all_rows:,} rows: {banks}, and
`class_gaussian` 31, which is a factor of {dim:,} x {dim:,} numbers for each of {classes:,} classes
of 1,281 rows; its time does not go on in a line. What the memory does not hold is read again:
all of a bank, or of the factors, once for each batch of 8,192 rows that are scored.

With all 1,281,167 rows in a store of 7.4 GB, `knn`, `nnguide` and `relation` were fitted together
in 46 processor seconds and 0.74 GiB of memory, and scored in 0.9 GiB, with banks of 14.5 GiB.

`gmm` takes 32,768 rows at most, and `weiper_kld` `fit_rows`, 50,000 by default; its columns are
for 256 and 768 of them.

OpenOOD's times at nearly this size are on [a page of their own](peers-openood.md) (set B).
`python benchmarks/imagenet_sized.py` in an environment with pytorch-ood writes this page.
"""


def write_store(path: Path, rows: int) -> None:
    """Write a store of clustered rows; OOD rows lie between the classes, near or far."""
    random = np.random.default_rng(0)
    means = np.maximum(random.standard_normal((CLASSES, DIM), dtype=np.float32), 0)
    weight = (means - means.mean(axis=0)) / DIM**0.5
    bias = -(weight * means).sum(axis=1) / 2
    arrays = {
        "features": ArraySpec("float16", (DIM,)),
        "logits": ArraySpec("float16", (CLASSES,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    spec = StoreSpec({name: SplitSpec(n, arrays) for name, n in {"train": rows, **SCORED}.items()})
    names = [str(label) for label in range(CLASSES)]
    counts = np.bincount(np.arange(rows) % CLASSES, minlength=CLASSES)
    head = {"weight": weight, "bias": bias}
    writer = FeatureWriter.create(path, spec, {"source": "random"}, head, names, counts)
    for split in spec.splits:
        strength = {"ood_near": 0.5, "ood_far": 0.0}.get(split, 1.0)
        for start, stop in writer.missing(split):
            ids = np.arange(start, stop)
            features = random.standard_normal((len(ids), DIM), dtype=np.float32)
            features = np.maximum(features + strength * means[ids % CLASSES], 0)
            found = {
                "features": features.astype(np.float16),
                "logits": (features @ weight.T + bias).astype(np.float16),
                "labels": ids % CLASSES if strength == 1 else np.full(len(ids), -1),
                "ids": ids,
            }
            writer.write(split, start, found)
    writer.finish()


class Peak:
    """The most anonymous memory of this process; the system takes pages of files back."""

    def __init__(self) -> None:
        self.mib = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text(encoding="ascii")
            line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.mib = max(self.mib, int(line.split()[1]) / 1024)
            time.sleep(0.01)


def work(store: str, methods: str, settings: str) -> None:
    """Compare some methods in this process, and print processor seconds and peak as JSON."""
    import_module("scipy.linalg")
    opened, sections = FeatureStore.open(store), {"methods": json.loads(settings)}
    peak, start = Peak(), time.process_time()
    board, _ = compare(opened, Config(methods=tuple(methods.split(","))), sections, device="cpu")
    failed = [row for row in board["rows"] if row["status"] != "ok"]
    print(json.dumps({"s": time.process_time() - start, "mib": peak.mib, "failed": len(failed)}))


def work_peer(store: str, method: str) -> None:
    """Fit and score in pytorch-ood, and print processor seconds as JSON."""
    import torch

    from ltood.core.head import ClassifierHead

    opened = FeatureStore.open(store)
    head = ClassifierHead.from_arrays(opened.head_arrays())
    splits = [next(iter(opened.split(name).batches(10**6))) for name in ("train", *SCORED)]
    train, test = splits[0], np.concatenate([split["features"] for split in splits[1:]])
    data = SimpleNamespace(
        shape=SimpleNamespace(rows=len(train["labels"]), dim=DIM, classes=CLASSES, principal=1000),
        head=head,
        labels=torch.tensor(train["labels"]),
        train=torch.tensor(train["features"]).float(),
        test=torch.tensor(test).float(),
    )
    data.train_logits = lambda: head.logits(data.train)
    data.test_logits = head.logits(data.test)
    fit, score = theirs(method, data)  # type: ignore[arg-type]
    import_module("sklearn.neighbors")
    rows = PEER_ROWS.get(method, len(test))
    with torch.no_grad():
        start = time.process_time()
        detector = fit()
        middle = time.process_time()
        score(detector, rows)
        end = time.process_time()
    print(json.dumps({"s": middle - start + (end - middle) * len(test) / rows}))


def _printed_by_child(task: str, *arguments: str) -> str:
    """What a task prints in a child of this process, which has the libraries; empty if it fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        status = 1
        try:
            (work if task == "ours" else work_peer)(*arguments)
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return text if os.waitpid(child, 0)[1] == 0 else ""


class Measured:
    """Figures by a name, each measured once in a child of this process and kept in a file."""

    def __init__(self, folder: Path, threads: int, *, only_kept: bool) -> None:
        self.file, self.threads = folder / "measured.jsonl", threads
        self.only_kept, self.unmeasured = only_kept, set[str]()
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.found: dict[str, dict[str, float]] = dict(json.loads(line) for line in lines)

    def get(self, name: str, *task: object) -> dict[str, float] | None:
        """What a task prints; None where it fails."""
        if name not in self.found and self.only_kept:
            self.unmeasured.add(name)
            return None
        if name not in self.found:
            text = _printed_by_child(*map(str, task))
            self.found[name] = json.loads(text.splitlines()[-1]) if text else {}
            with self.file.open("a") as file:
                file.write(json.dumps([name, self.found[name]]) + "\n")
            print(name, self.found[name], flush=True)
        return self.found[name] or None


def line_of(method: str, measured: Measured, stores: list[Path]) -> str | None:
    """One line of the table; None where the store lacks a need, or nothing is measured."""
    settings = SETTINGS.get(method, ({}, {}))
    found = []
    for store, own in zip(stores, settings, strict=True):
        given = json.dumps({method: own} if own else {})
        figures = measured.get(f"{method} {store.name}", "ours", store, method, given)
        if figures is None or figures["failed"]:
            return None
        found.append(figures)
    small, large = found
    rows = [own.get("fit_rows", n) for own, n in zip(settings, ROWS, strict=True)]
    all_rows = CAPPED.get(method, IMAGENET_ROWS)
    ratio = (all_rows - rows[1]) / (rows[1] - rows[0])
    seconds = large["s"] + ratio * max(0.0, large["s"] - small["s"])
    peer = None
    if method in PEER_METHODS:
        peer = measured.get(f"peer {method}", "peer", stores[1], method)
    cells = [
        method,
        f"{small['s']:.1f}",
        f"{large['s']:.1f}",
        "" if method in NOT_LINEAR else f"{seconds / 60:.1f}",
        f"{small['mib']:.0f}",
        f"{large['mib']:.0f}",
        "" if peer is None else f"{peer['s']:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-kept", action="store_true", help="measure nothing more")
    options = parser.parse_args()
    # Before anything is imported that starts threads, which no child of a fork has.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["LTOOD_IN_MEMORY_GIB"] = IN_MEMORY_GIB
    for library in ("torch", "scipy.linalg", "ltood.methods"):
        import_module(library)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        stores = [folder / f"{rows}.zarr" for rows in ROWS]
        for store, rows in zip(stores, ROWS, strict=True):
            if not (store.exists() or options.only_kept):
                write_store(store, rows)
        measured = Measured(folder, options.threads, only_kept=options.only_kept)
        names = [combination.method for combination in Config().combinations()]
        lines = {name: line for name in names if (line := line_of(name, measured, stores))}
        sections = json.dumps({name: both[1] for name, both in SETTINGS.items()})
        together = measured.get("together", "ours", stores[1], ",".join(lines), sections)
        RESULT.write_text(page(lines, together, measured, options.threads), encoding="utf-8")
        for store in () if options.only_kept else stores:
            shutil.rmtree(store)


def page(
    lines: dict[str, str],
    together: dict[str, float] | None,
    measured: Measured,
    threads: int,
) -> str:
    """The page as Markdown."""
    missing = sorted({name.split()[0] for name in measured.unmeasured if name.endswith(".zarr")})
    rest = f"Not measured yet: {', '.join(missing)}." if missing else ""
    if together:
        rest += (
            f" All {len(lines)} in one `compare` of the large store: {together['s']:.0f} processor "
            f"seconds, {together['mib'] / 1024:.1f} GiB."
        )
    banks = (f"`{name}` {of_row * IMAGENET_ROWS / 2**30:.1f}" for name, of_row in BANKS.items())
    return PAGE.format(
        small=f"{ROWS[0]:,}",
        large=f"{ROWS[1]:,}",
        dim=DIM,
        classes=CLASSES,
        scored=sum(SCORED.values()),
        threads=threads,
        all_rows=IMAGENET_ROWS,
        lines="\n".join(lines.values()),
        rest=rest.strip(),
        banks=", ".join(banks),
        in_memory=IN_MEMORY_GIB,
    )


if __name__ == "__main__":
    main()
