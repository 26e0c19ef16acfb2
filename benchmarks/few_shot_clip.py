"""Prompts, forced prompts, linear probes and COOkeD on the demo with a small CLIP, several seeds.

    python benchmarks/make_small_clip.py data/weights
    python benchmarks/few_shot_clip.py --weights data/weights --seeds 1 2 3

One store of the small CLIP's features, with views, serves all rows; what is learned from it and
the classifiers beside it depend on the seed. Finished steps are kept in the work folder. The table
goes to docs/results/few-shot-clip.md. Such a CLIP has seen nothing but the demo classes: the table
shows that everything runs and what it costs, and ranks nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ltood.store.features import FeatureStore

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "few-shot-clip.md"
#: Rows of each class that prompts are learned from.
SHOTS = 16
#: Classifier beside CLIP: a few epochs of the demo, as docs/results/recipes-demo.md trains.
TRAINING = {"epochs": 10, "learning_rate": 0.003, "optimiser": "adamw", "weight_decay": 0.05}


class Head(NamedTuple):
    """A row of the table: a head, and the methods that score with it."""

    title: str
    recipe: str
    settings: dict[str, Any]
    methods: tuple[str, ...] = ("mcm", "gl_mcm")


HEADS = (
    Head("zero_shot", "zero_shot", {}),
    Head("coop", "coop", {"shots": SHOTS}),
    Head("locoop", "locoop", {"shots": SHOTS}),
    Head("sct", "sct", {"shots": SHOTS}),
    *(Head(f"fa, {k} copies", "fa", {"shots": SHOTS, "copies": k}) for k in (2, 3, 4)),
    Head("linear_probe", "linear_probe", {}, ("msp", "entropy")),
    Head("linear_probe, standardised", "linear_probe", {"standardise": True}, ("msp", "entropy")),
    Head(
        f"linear_probe, {SHOTS} shots, standardised",
        "linear_probe",
        {"standardise": True, "shots": SHOTS},
        ("msp", "entropy"),
    ),
)
PROBE = "linear_probe, standardised"
COLUMNS = (("AUROC", "mean", "auroc"), ("FPR95, ID pos.", "mean", "fpr95_id_pos"))


def main() -> None:
    """Run what is missing and write the table."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=Path("data/weights"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--work", type=Path, default=Path("data/work/benchmark/few_shot_clip"))
    options = parser.parse_args()
    store = clip_store(options.weights, options.work)
    table: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for head in HEADS:
            found = scored_head(store, head, seed, options)
            for row in found["rows"]:
                table.setdefault(f"{head.title} | {row['title']}", []).append(
                    {**row, "seconds": found["seconds"]}
                )
        for title, row in scored_together(seed, options).items():
            table.setdefault(title, []).append(row)
        print(f"seed {seed} is done", flush=True)
    RESULTS.write_text(page(table, options.seeds), encoding="utf-8")


def clip_store(weights: Path, work: Path) -> "FeatureStore":
    """Features of the small CLIP, with four views of the training rows."""
    from ltood.store.features import FeatureStore

    settings = {"model": str(weights / "small_clip.json"), "views": 4}
    checkpoint = {"weights": str(weights / "small_clip.safetensors"), "validation_epochs": 1}
    path = stored(work, "clip", ("clip", settings), ("zero_shot", {}), checkpoint, seed=0)
    return FeatureStore.open(path)


def stored(
    work: Path,
    name: str,
    backbone: tuple[str, Mapping[str, Any]],
    recipe: tuple[str, Mapping[str, Any]],
    training: Mapping[str, Any],
    *,
    seed: int,
) -> Path:
    """Feature store of the demo after one training, or after none."""
    from ltood.core.registry import load
    from ltood.core.settings import parse, to_section
    from ltood.extraction.config import ExtractionConfig
    from ltood.extraction.extract import extract
    from ltood.images.prepared import open_prepared
    from ltood.preparing.prepare import prepare
    from ltood.training.plan import Plan, TrainingConfig
    from ltood.training.train import train

    prepared, folder = work / "prepared", work / name
    if not prepared.is_dir():
        demo = load("datasets", "demo")
        prepare(demo.Dataset(demo.Config()), "demo", to_section(demo.Config()), prepared)

    def section(kind: str, entry: str, given: Mapping[str, Any]) -> dict[str, Any]:
        return to_section(parse(given, load(kind, entry).Config, f"{kind}.{entry}"))

    chosen = (
        *(backbone[0], section("backbones", *backbone)),
        *(recipe[0], section("recipes", *recipe)),
    )
    plan = Plan(*chosen, TrainingConfig(**training), seed)
    data = open_prepared(prepared)
    train(plan, data, folder / "checkpoint", "cpu", state_folder=folder / "training")
    extract(
        folder / "checkpoint", data, folder / "features.zarr", ExtractionConfig(), device_name="cpu"
    )
    return folder / "features.zarr"


def head_folder(title: str, seed: int, work: Path) -> Path:
    """Where a head is kept."""
    slug = "".join(char if char.isalnum() else "-" for char in title)
    return work / "heads" / f"{slug}-{seed}"


def scored_head(
    store: "FeatureStore", head: Head, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Leaderboard rows of one head, and how long it took to learn; kept in the work folder."""
    from ltood.adapting.adapt import adapt
    from ltood.adapting.encoders import text_encoder
    from ltood.core.registry import load
    from ltood.core.settings import parse, to_section
    from ltood.store.adapted import with_adapted_head

    out = head_folder(head.title, seed, options.work)
    done = out.with_suffix(".json")
    if done.is_file():
        content: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return content
    out.parent.mkdir(parents=True, exist_ok=True)
    config = parse(head.settings, load("recipes", head.recipe).Config, f"recipes.{head.recipe}")
    encoder = text_encoder(options.work / "clip" / "checkpoint")
    start = time.perf_counter()
    adapt(
        store,
        head.recipe,
        to_section(config),
        encoder,
        out,
        state_folder=out.with_name(f"{out.name}.state"),
        seed=seed,
        device_name="cpu",
    )
    seconds = time.perf_counter() - start
    rows = board(with_adapted_head(store, out), head.methods, {})
    done.write_text(json.dumps({"rows": rows, "seconds": seconds}), encoding="utf-8")
    return {"rows": rows, "seconds": seconds}


def board(
    store: "FeatureStore", methods: Sequence[str], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Leaderboard rows of some methods without calibrator and normaliser."""
    from ltood.comparing.plan import Config
    from ltood.comparing.running import compare

    chosen = Config(tuple(methods), ("none",), ("none",))
    found, _ = compare(store, chosen, {"methods": dict(settings)}, device="cpu")
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def scored_together(seed: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A classifier of this seed alone, and COOkeD of it with the probe and the text of CLIP."""
    from ltood.store.features import FeatureStore

    name = f"classifier-{seed}"
    training = {**TRAINING, "validation_epochs": TRAINING["epochs"]}
    path = stored(
        options.work, name, ("cifar_resnet", {}), ("cross_entropy", {}), training, seed=seed
    )
    others = [
        {
            "store": str((options.work / "clip" / "features.zarr").resolve()),
            "head": str(head_folder(title, seed, options.work).resolve()),
        }
        for title in (PROBE, "zero_shot")
    ]
    found = {}
    for score in ("entropy", "msp"):
        settings = {"cooked": {"others": others, "score": score}}
        rows = board(FeatureStore.open(path), (score, "cooked"), settings)
        by_method = {row["method"]: row for row in rows}
        found[f"classifier | {score}"] = by_method[score]
        found[f"cooked: classifier, probe and text | {score}"] = by_method["cooked"]
    return found


def cells(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Mean and deviation over seeds, percent, and the seconds that learning took."""
    texts = []
    for part, key in (("id", "accuracy"), *((part, key) for _, part, key in COLUMNS)):
        values = [100 * row[part][key] for row in rows]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        texts.append(f"{statistics.fmean(values):.1f}{spread}")
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return [*texts, f"{statistics.median(seconds):.0f}" if seconds else ""]


def page(table: Mapping[str, Sequence[Mapping[str, Any]]], seeds: Sequence[int]) -> str:
    """The page of the results."""
    headings = ["head", "method", "accuracy", *(heading for heading, _, _ in COLUMNS), "seconds"]
    lines = [
        "# Few-shot heads and two networks, on the demo",
        "",
        f"`python benchmarks/few_shot_clip.py --seeds {' '.join(map(str, seeds))}`, with the small "
        "CLIP of `benchmarks/make_small_clip.py`: it has seen nothing but the demo classes, so the "
        "table shows that everything runs and ranks nothing. Published figures stand on the "
        "pages of the [recipes](../recipes/README.md).",
        "",
        f"Percent: means over four OOD sets, then over seeds, with the standard deviation. Prompts "
        f"are learned from {SHOTS} images of each class with 4 views each; the probe from all "
        f"training rows where no shots are named. The classifier was trained for "
        f"{TRAINING['epochs']} epochs. The seconds are those of the learning, on one core of a "
        "busy machine. COOkeD shows the accuracy of its classifier. The training rows of the demo "
        "are long-tailed and the test rows are not, which a probe on all of them suffers from: "
        "drawn shots are balanced.",
        "",
        f"| {' | '.join(headings)} |",
        "|---|---|" + "---:|" * (len(headings) - 2),
    ]
    lines += [f"| {title} | {' | '.join(cells(rows))} |" for title, rows in table.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
