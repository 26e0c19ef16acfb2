"""How often work is done that needs doing once, here and in an older checkout.

    python benchmarks/work_once.py --before CHECKOUT [--features FOLDER]

Counts, in one process for each command and checkout: done-markers that are opened, checksums that
are computed, passes over training rows, and values that are sorted. Then the processor seconds of
`KNN.score` beside other fitted methods, relative to alone, and those of `ltood compare` with all
methods on imported features, taken in turn. The page goes to docs/results/work-done-once.md.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
RESULT = HERE / "docs" / "results" / "work-done-once.md"
ROWS = {"train": 20_000, "val": 4_000, "test": 10_000, "aux": 4_000, "ood_far": 10_000}
DIM, CLASSES, CHUNK_BYTES = 64, 10, 2**18
COUNTED = ("markers opened", "checksums", "passes over train", "values sorted")
#: Bank, width, queries and repetitions of the timing of KNN.
BANK, WIDTH, QUERIES, ROUNDS = 20_000, 256, 2048, 3


def write_archives(folder: Path) -> None:
    """Rows around class means as `ltood import` reads them."""
    import numpy as np

    rng = np.random.default_rng(0)
    means = 3 * rng.normal(size=(CLASSES, DIM))
    np.savez(folder / "head.npz", weight=means, bias=np.zeros(CLASSES))
    for name, rows in ROWS.items():
        labels = np.arange(rows) % CLASSES
        is_id = name in ("train", "val", "test")
        features = np.abs(rng.normal(size=(rows, DIM)) + (means[labels] if is_id else 0))
        arrays = {"features": features.astype(np.float32)}
        if is_id:
            arrays["labels"] = labels
        np.savez(folder / f"{name}.npz", **arrays)


def commands(folder: Path) -> dict[str, list[str]]:
    """What is counted: commands by their title."""
    slots = ["--method", "energy", "--calibrator", "patt", "--normaliser", "imood"]
    cpu, store = ["--device", "cpu"], ["--store", str(folder / "features.zarr")]
    detector, scores = str(folder / "d.safetensors"), str(folder / "s.zarr")
    some = ["knn", "nnguide", "relation", "mahalanobis", "himplos", "energy"]
    return {
        "score, three slots": ["score", *store, *slots, *cpu, "--out", scores],
        "export-detector, himplos": [
            *("export-detector", *store, "--method", "himplos", *cpu, "--out", detector)
        ],
        "predict, 10,000 rows": [
            *("predict", detector, str(folder / "test.npz"), *cpu),
            *("--out", str(folder / "rows.csv")),
        ],
        "compare, six methods": [
            *("compare", *store, *cpu, "--out", str(folder / "board")),
            *(text for name in some for text in ("--method", name)),
        ],
        "evaluate, with curves": [
            *("evaluate", "--scores", scores, "--out", str(folder / "metrics.json")),
            *("--plots", str(folder / "plots")),
        ],
        "report": ["report", "--scores", scores, "--out", str(folder / "report.html")],
    }


def count(folder: Path) -> dict[str, dict[str, int]]:
    """Counts of each command in the checkout that is imported."""
    import google_crc32c
    import numpy as np
    import torch
    from typer.testing import CliRunner

    from ltood.cli import app
    from ltood.store import layout
    from ltood.store.features import FeatureSplit

    counts: Counter[str] = Counter()

    def audit(event: str, details: tuple[object, ...]) -> None:
        if event == "open" and f"{os.sep}.done{os.sep}" in str(details[0]) and details[1] != "w":
            counts["markers opened"] += 1

    def counting(module: object, name: str, what: str, size: bool) -> None:
        work = getattr(module, name)

        def counted(values: object, *more: object, **options: object) -> object:
            counts[what] += math.prod(np.shape(values)) if size else 1
            return work(values, *more, **options)

        setattr(module, name, counted)

    counting(google_crc32c, "value", "checksums", size=False)
    for name in ("sort", "argsort", "unique"):
        counting(np, name, "values sorted", size=True)
    counting(torch.Tensor, "sort", "values sorted", size=True)
    batches = FeatureSplit.batches

    def passing(self: FeatureSplit, *given: object, **options: object) -> object:
        counts["passes over train"] += self.name == "train"
        return batches(self, *given, **options)

    FeatureSplit.batches = passing
    layout.CHUNK_BYTES = CHUNK_BYTES
    runner = CliRunner()
    store = str(folder / "features.zarr")
    done = runner.invoke(app, ["import", str(folder), "--store", store])
    assert done.exit_code == 0, done.output
    sys.addaudithook(audit)
    found = {}
    for title, command in commands(folder).items():
        counts.clear()
        done = runner.invoke(app, command)
        assert done.exit_code == 0, (command, done.output, done.exception)
        found[title] = {what: counts[what] for what in COUNTED}
    return found


def beside_others() -> float:
    """Processor seconds of KNN.score beside three other fitted methods, relative to alone."""
    import torch

    try:
        from ltood.core.batches import FeatureBatch
        from ltood.core.head import ClassifierHead
        from ltood.core.inputs import FitInputs
    except ModuleNotFoundError:  # an older checkout
        from ltood.core.heads import ClassifierHead
        from ltood.core.types import FeatureBatch, FitInputs
    from ltood.methods.knn import KNN, Config
    from ltood.methods.nnguide import NNGuide
    from ltood.methods.relation import Relation

    torch.manual_seed(0)
    head = ClassifierHead(torch.randn(CLASSES, WIDTH), torch.zeros(CLASSES))
    rows, labels = torch.randn(BANK, WIDTH).abs(), torch.arange(BANK) % CLASSES
    queries = torch.randn(QUERIES, WIDTH).abs()
    inputs = FitInputs.of(rows, labels, head=head)
    knn = KNN(Config(k=10)).fit(inputs)

    def seconds() -> float:
        spent = []
        for _ in range(ROUNDS):
            batch = FeatureBatch.of(queries, head=head)
            start = time.process_time()
            knn.score(batch)
            spent.append(time.process_time() - start)
        return min(spent)

    alone = seconds()
    others = [method.fit(inputs) for method in (NNGuide(), Relation(), KNN(Config(k=2000)))]
    ratio = seconds() / alone
    assert len(others) == 3
    return ratio


def compare_all(features: Path, folder: Path) -> None:
    """Import features and compare all methods, each in a process of its own."""
    run = [sys.executable, "-c", "from ltood.cli import main; main()"]
    store, board = folder / "all.zarr", folder / "all"
    if not store.exists():
        subprocess.run([*run, "import", features, "--store", store], check=True, stdout=sys.stderr)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [*run, "compare", "--store", store, "--out", board, "--device", "cpu"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    rows = json.loads((board / "leaderboard.json").read_text())["auroc"]
    print(json.dumps({"seconds": spent, "auroc": rows}))


def worker(checkout: Path, *arguments: object) -> object:
    """The last line that a fresh process prints which imports `checkout`."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=checkout,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both checkouts and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="Checkout of an older commit.")
    parser.add_argument("--features", type=Path, help="Folder for `ltood import`, for compare.")
    parser.add_argument("--rounds", type=int, default=2, help="Runs of compare on each side.")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, *given = options.worker
        if what == "count":
            print(json.dumps(count(Path(given[0]))))
        elif what == "knn":
            print(json.dumps(beside_others()))
        else:
            compare_all(Path(given[0]), Path(given[1]))
        return
    sides = {"before": options.before.resolve(), "now": HERE}
    counts, ratios = {}, {}
    for side, checkout in sides.items():
        with tempfile.TemporaryDirectory() as temporary:
            write_archives(Path(temporary))
            counts[side] = worker(checkout, "--worker", "count", temporary)
        ratios[side] = worker(checkout, "--worker", "knn")
    lines = [
        "# Work done once",
        "",
        "What commands do on a store of 48,000 rows in chunks of 1,024, counted in the older",
        f"commit {_commit(sides['before'])} and now.",
        "",
        f"| command | {' | '.join(f'{what}, before | now' for what in COUNTED)} |",
        f"|---|{'---:|' * 2 * len(COUNTED)}",
    ]
    for title in counts["now"]:
        cells = [f"{counts[side][title][what]:,}" for what in COUNTED for side in sides]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        "`KNN(k=10).score` beside fitted NNGuide, Relation and `KNN(k=2000)` takes "
        f"{ratios['before']:.2f} times the",
        f"processor time that it takes alone before, {ratios['now']:.2f} times now ({BANK:,} x "
        f"{WIDTH} training rows, {QUERIES:,}",
        "queries, one thread).",
    ]
    if options.features:
        lines += _compared(sides, options.features, options.rounds)
    lines += ["", "`python benchmarks/work_once.py` writes this page.", ""]
    RESULT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _compared(sides: dict[str, Path], features: Path, rounds: int) -> list[str]:
    """Processor seconds of `ltood compare` on both sides, in turn, and whether figures agree."""
    spent: dict[str, list[float]] = {side: [] for side in sides}
    auroc: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for _ in range(rounds):
            for side, checkout in sides.items():
                folder = Path(temporary) / side
                folder.mkdir(exist_ok=True)
                found = worker(checkout, "--worker", "compare", features.resolve(), folder)
                spent[side].append(found["seconds"])
                auroc[side] = found["auroc"]
    common = auroc["before"].keys() & auroc["now"].keys()
    apart = max(abs(auroc["before"][title] - auroc["now"][title]) for title in common)
    medians = {side: statistics.median(values) for side, values in spent.items()}
    return [
        "",
        f"`ltood compare` with all methods ({len(common)} with a result) and {_shape(features)}",
        f"training rows takes {medians['before']:.1f} s of user time before and "
        f"{medians['now']:.1f} s now (one thread, medians of",
        f"{rounds} runs in turn). "
        + (f"An AUROC differs by {apart:.0e}." if apart else "The AUROC of each method is equal."),
    ]


def _shape(features: Path) -> str:
    import numpy as np

    with np.load(features / "train.npz") as archive:
        return " x ".join(f"{size:,}" for size in archive["features"].shape)


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
