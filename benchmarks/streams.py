"""What stream methods reach, and how much of it hangs on the order and the mixture of the stream.

    python benchmarks/streams.py cifar10_densenet.zarr [--clip clip.zarr --head head] [--orders 5]

The first store is of a classifier on CIFAR-10 with OOD sets; the second one is of CLIP, with the
head of the adapt stage that holds negative labels. Each row is scored by `ltood score` and
evaluated as `ltood evaluate` does it. The tables go to docs/results/streams.md.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltood.core.building import EntrySpec
from ltood.evaluation.measures import Evaluation
from ltood.evaluation.tables import markdown, percent, with_spread
from ltood.scoring.run import score_store
from ltood.store.adapted import with_adapted_head
from ltood.store.features import FeatureStore

RESULT = Path(__file__).parents[1] / "docs" / "results" / "streams.md"
#: The authors' settings for CIFAR-10.
OODD = {"k_train": 5, "queue": 128}
RELEASED = {**OODD, "stabilise": False, "official_update_first": True}
CLASSIFIER: list[tuple[str, str, Mapping[str, Any]]] = [
    ("one row at a time", "energy", {}),
    ("one row at a time", "knn", {}),
    ("default protocol", "doda", {}),
    ("as released: the batch with itself", "doda", {"official_update_first": True}),
    ("90 % of the stream are ID", "doda", {"id_share": 0.9}),
    ("default protocol", "oodd", OODD),
    ("as released: update first, empty memory", "oodd", RELEASED),
    ("batches of 64", "oodd", {**OODD, "batch": 64}),
    ("batches of 1,024", "oodd", {**OODD, "batch": 1024}),
    ("90 % of the stream are ID", "oodd", {**OODD, "id_share": 0.9}),
    ("99 % of the stream are ID", "oodd", {**OODD, "id_share": 0.99}),
    ("all OOD sets in one stream", "oodd", {**OODD, "mix": "all"}),
    ("500 held-out ID rows first", "oodd", {**OODD, "warm_start": 500}),
]
CLIP: list[tuple[str, str, Mapping[str, Any]]] = [
    ("one row at a time", "mcm", {}),
    ("one row at a time", "neglabel", {}),
    ("default protocol", "adaneg", {}),
    (
        "as released",
        "adaneg",
        dict.fromkeys(("official_update_first", "official_beta", "official_slots"), True),
    ),
    ("default protocol", "tanl", {}),
    ("as released, alpha = 0", "tanl", {"official_update_first": True}),
    ("as released, alpha = 0, batches of 32", "tanl", {"official_update_first": True, "batch": 32}),
]


def measured(store: FeatureStore, method: str, settings: Mapping[str, Any], orders: int) -> Any:
    """Metrics of one method, and the seconds that scoring took."""
    stream = {} if method in {"energy", "knn", "mcm", "neglabel"} else {"orders": orders}
    start = time.process_time()
    splits = ["test", *store.ood_splits]
    with tempfile.TemporaryDirectory() as folder:
        spec = EntrySpec(method, {**settings, **stream})
        scores = score_store(store, Path(folder) / "scores.zarr", spec, splits=splits)
        seconds = time.process_time() - start
        return Evaluation(scores).metrics, seconds


def table(store: FeatureStore, rows: list[tuple[str, str, Mapping[str, Any]]], orders: int) -> str:
    """One table; means over the OOD sets in percent."""
    heading = ["method", "protocol", "AUROC", "FPR95, ID positive", "order decides", "CPU s"]
    cells = [heading]
    for words, method, settings in rows:
        metrics, seconds = measured(store, method, settings, orders)
        stream = metrics.get("stream")
        std = stream["std"]["mean"] if stream else {}
        changed = percent(stream["order_dependent"]["mean"]["id_pos"]) if stream else "0"
        shown = (
            with_spread(metrics["mean"][key], std.get(key)) for key in ("auroc", "fpr95_id_pos")
        )
        cells.append([f"`{method}`", words, *shown, changed, f"{seconds:.0f}"])
        print(*cells[-1], sep=" | ", flush=True)
    return markdown(cells)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--orders", type=int, default=5)
    given = parser.parse_args()
    store = FeatureStore.open(given.store)
    rows = len(store.split("test"))
    parts = [
        "# Stream methods\n",
        f"Means over the OOD sets in percent, ± the standard deviation over {given.orders} orders; "
        "“order decides” is the share of ID rows whose verdict is not the same in all orders where "
        "95 % of them are accepted. What the words mean: [streams](../how-to/streams.md).\n",
        f"## A classifier: DenseNet on CIFAR-10\n\n{rows:,} ID test rows and "
        f"{len(store.ood_splits)} OOD sets of real images.\n",
        table(store, CLASSIFIER, given.orders),
    ]
    if given.clip:
        parts += [
            "\n## Negative labels: a small CLIP on the demo\n",
            "Trained in a minute on the demo's images (`benchmarks/make_small_clip.py`), with 149 "
            "negative labels of the names of ImageNet's classes: it shows that the methods run and "
            "how much the protocol moves them, and says nothing about CLIP.\n",
            table(with_adapted_head(FeatureStore.open(given.clip), given.head), CLIP, given.orders),
        ]
    parts.append("\n`python benchmarks/streams.py` writes this page.\n")
    RESULT.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
