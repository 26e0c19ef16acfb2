"""Train with every recipe, score with the detector each was made for, and show what helps.

    python benchmarks/recipes.py demo --seeds 0 1 2
    python benchmarks/recipes.py cifar10 --root CIFAR_FOLDER --ood svhn=svhn.npz ... \
        --aux places.npz --epochs 8 --backbone 'variant=small'

Each run goes through the same drivers as the pipeline's stages: prepare, train, extract, compare.
The last epoch is scored; nothing is chosen by a look at test images. Finished steps are kept in
the work folder, so a run that was stopped goes on; rows of other runs with the same arguments stay.
Means over the OOD sets, then mean and standard deviation over the seeds. The table goes to
docs/results/recipes-DATASET.md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "docs" / "results"

#: Columns: heading, key in a leaderboard row, and whether it is a mean over OOD sets.
COLUMNS = (
    ("AUROC", "auroc", True),
    ("AP-out", "ap_out", True),
    ("FPR95, OOD pos.", "fpr95_ood_pos", True),
    ("FPR95, ID pos.", "fpr95_id_pos", True),
    ("accuracy", "accuracy", False),
    ("many", "many", False),
    ("medium", "medium", False),
    ("few", "few", False),
)


@dataclass(frozen=True)
class Run:
    """One row of the table.

    Attributes:
        title: What the reader sees.
        recipe: Name of the entry.
        scores: Combinations to report, such as "patt+energy": as the leaderboard titles them; first
            the published score of networks that are trained so.
        settings: Of the recipe, where they differ from the defaults.
        training: Of the loop, for images as in CIFAR, where the paper augments in its own way.
        after: Title of the row whose network is trained on, with the settings in `training` and
            the augmentation of that row.
    """

    title: str
    recipe: str
    scores: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    after: str | None = None


SECOND_STAGE = {
    "epochs": 10,
    "batch_size": 128,
    "optimiser": "adam",
    "learning_rate": 0.0005,
    "weight_decay": 0.0005,
    "schedule": "cosine_epoch",
}
#: Balanced Energy tunes a trained classifier.
TUNING = {"epochs": 20, "batch_size": 128, "learning_rate": 0.001}
PATT_VIEWS = {
    "augmentation": "autoaugment",
    "later_views": "contrast",
    "aux_augmentation": "jitter",
}
#: What may stand before a method in a score.
CALIBRATORS = ("patt", "logit_adjustment")
COMMON = ("msp", "energy", "mahalanobis")
ADJUSTED = "logit_adjustment+outlier_class"
NODE = ("bin_disc", "bin_disc+imood", *COMMON)
RUNS = (
    Run("cross entropy", "cross_entropy", (*COMMON, "energy+imood")),
    Run("logit adjustment", "logit_adjustment", (*COMMON, "energy+imood")),
    Run("OE", "outlier_exposure", COMMON),
    Run("OE, logit-adjusted", "outlier_exposure", COMMON, {"tau": 1.0}),
    Run("Energy-OE", "energy_oe", ("energy", "msp", "mahalanobis")),
    Run(
        "Balanced Energy",
        "balanced_energy",
        ("energy", "msp", "mahalanobis"),
        {},
        TUNING,
        "cross entropy",
    ),
    Run("BinDisc", "bin_disc", NODE),
    Run("COCL", "cocl", (ADJUSTED, "outlier_class", *COMMON)),
    Run("EAT", "eat", ("outlier_class", *COMMON)),
    Run(
        "EAT, second stage",
        "eat_finetune",
        ("outlier_class", *COMMON),
        {},
        SECOND_STAGE,
        "EAT",
    ),
    Run("PASCL", "pascl", COMMON),
    Run("PASCL, second stage", "pascl_finetune", COMMON, {}, SECOND_STAGE, "PASCL"),
    Run("PATT", "patt", ("patt+energy", *COMMON), {}, PATT_VIEWS),
    Run(
        "PATT, isac official",
        "patt",
        ("patt+energy", *COMMON),
        {"official_augmentation": True},
        PATT_VIEWS,
    ),
    Run("ImOOD (OE)", "imood", ("msp", "msp+imood", "energy", "mahalanobis"), {"base": "oe"}),
    Run(
        "ImOOD (energy)",
        "imood",
        ("energy", "energy+imood", "msp", "mahalanobis"),
        {"base": "energy"},
    ),
    Run(
        "ImOOD (Mahalanobis)",
        "imood",
        ("mahalanobis", "mahalanobis+imood", "msp", "energy"),
        {"base": "maha"},
    ),
    Run("ImOOD (BinDisc)", "imood", NODE, {"base": "bin_disc"}),
    Run(
        "ImOOD (BinDisc, PASCL)",
        "imood",
        NODE,
        {"base": "bin_disc", "auxiliary": "pascl"},
    ),
    Run(
        "ImOOD (BinDisc, COCL)",
        "imood",
        (*NODE[:2], "outlier_class", *COMMON),
        {"base": "bin_disc", "auxiliary": "cocl"},
    ),
)


def pairs(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as settings, values read as YAML."""
    from ruamel.yaml import YAML

    parser = YAML(typ="safe")
    return {key: parser.load(value) for key, _, value in (text.partition("=") for text in texts)}


def dataset_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Section of the chosen dataset."""
    settings = pairs(options.set)
    if options.root:
        settings["root"] = options.root
    if options.ood:
        settings["ood"] = options.ood
    if options.aux:
        settings["aux"] = options.aux
    return settings


def scored(run: Run, seed: int, options: argparse.Namespace, prepared: Path) -> dict[str, Any]:
    """Leaderboard of one training, kept in the work folder."""
    from ltood.comparing.plan import Config
    from ltood.comparing.running import compare
    from ltood.core.registry import load
    from ltood.core.settings import parse, to_section
    from ltood.extraction.config import ExtractionConfig
    from ltood.extraction.extract import extract
    from ltood.images.prepared import open_prepared
    from ltood.store.features import FeatureStore
    from ltood.training.plan import Plan, TrainingConfig
    from ltood.training.train import train

    folder = folder_of(run.title, seed, options)
    done = folder / "leaderboard.json"
    if done.is_file():
        content: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return content
    folder.mkdir(parents=True, exist_ok=True)
    backbone, recipe = load("backbones", "cifar_resnet"), load("recipes", run.recipe)
    if run.after is None:
        own = run.training if options.dataset.startswith("cifar") else {}
        given = {"epochs": options.epochs, **pairs(options.training), **own}
    else:
        shared = pairs(options.training)
        same = {key: shared[key] for key in ("augmentation",) if key in shared}
        given = {
            **same,
            **run.training,
            "weights": str(folder_of(run.after, seed, options) / "checkpoint"),
        }
    config = TrainingConfig(**{"validation_epochs": given["epochs"], **given})
    plan = Plan(
        "cifar_resnet",
        to_section(parse(pairs(options.backbone), backbone.Config, "backbones.cifar_resnet")),
        run.recipe,
        to_section(parse(run.settings, recipe.Config, f"recipes.{run.recipe}")),
        config,
        seed,
    )
    data = open_prepared(prepared)
    start = time.perf_counter()
    train(plan, data, folder / "checkpoint", options.device, state_folder=folder / "training")
    seconds = time.perf_counter() - start
    extract(
        folder / "checkpoint",
        data,
        folder / "features.zarr",
        ExtractionConfig(),
        device_name=options.device,
    )
    store = FeatureStore.open(folder / "features.zarr")
    methods = tuple(dict.fromkeys(name for title in run.scores for name in parts(title)[1]))
    before = [name for name in CALIBRATORS if any(name in title for title in run.scores)]
    chosen = Config(methods, ("none", *before), ("none", "imood"))
    board, _ = compare(store, chosen, {}, device=options.device)
    result = {"rows": board["rows"], "seconds": seconds}
    done.write_text(json.dumps(result), encoding="utf-8")
    return result


def folder_of(title: str, seed: int, options: argparse.Namespace) -> Path:
    """Where a row of the table keeps what it made."""
    slug = "".join(char if char.isalnum() else "-" for char in title.lower())
    folder: Path = options.work / options.dataset / f"{slug}-{options.epochs}-{seed}"
    return folder


def parts(title: str) -> tuple[str, tuple[str, ...]]:
    """A leaderboard title with the methods that it needs."""
    names = [part for part in title.split("+") if part not in (*CALIBRATORS, "imood")]
    return title, tuple(names)


def cells(boards: Sequence[Mapping[str, Any]], score: str) -> list[str] | None:
    """Mean and deviation over seeds of every column, percent; None where a score failed."""
    found = []
    for board in boards:
        rows = [row for row in board["rows"] if row["title"] == score and row["status"] == "ok"]
        if not rows:
            return None
        found.append(rows[0])
    texts = []
    for _, key, is_mean in COLUMNS:
        values = [row["mean" if is_mean else "id"][key] for row in found]
        if any(value is None for value in values):
            texts.append("")
            continue
        text = f"{100 * statistics.fmean(values):.1f}"
        if len(values) > 1:
            text += f" ± {100 * statistics.stdev(values):.1f}"
        texts.append(text)
    return texts


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--root")
    parser.add_argument("--ood", nargs="*", default=[])
    parser.add_argument("--aux")
    parser.add_argument("--set", nargs="*", default=[], help="further dataset settings")
    parser.add_argument("--backbone", nargs="*", default=[], help="cifar_resnet settings")
    parser.add_argument("--training", nargs="*", default=[], help="settings of the loop")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--only", nargs="*", default=[], help="recipes or titles to run; all if not given"
    )
    parser.add_argument("--page", help="write docs/results/PAGE.md; recipes-DATASET if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=Path("data/work/benchmark"))
    options = parser.parse_args()

    from ltood.core.registry import load
    from ltood.core.settings import parse, to_section
    from ltood.preparing.prepare import prepare

    module = load("datasets", options.dataset)
    config = parse(dataset_settings(options), module.Config, f"datasets.{options.dataset}")
    prepared = options.work / options.dataset / "prepared"
    if not prepared.is_dir():
        prepare(module.Dataset(config), options.dataset, to_section(config), prepared)
    table: dict[str, list[dict[str, Any]]] = {}
    for run in RUNS:
        if options.only and not {run.recipe, run.title} & set(options.only):
            continue
        for seed in options.seeds:
            board = scored(run, seed, options, prepared)
            table.setdefault(run.title, []).append(board)
            print(f"{run.title}, seed {seed}: trained in {board['seconds']:.0f} s", flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        write(options, table)


def write(options: argparse.Namespace, table: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the table of the runs that are there."""
    arguments = " ".join(
        [options.dataset, f"--epochs {options.epochs}", "--seeds", *map(str, options.seeds)]
        + (["--backbone", *options.backbone] if options.backbone else [])
        + (["--training", *options.training] if options.training else [])
        + ([f"--page {options.page}"] if options.page else [])
    )
    lines = [
        f"# Recipes on {options.dataset}",
        "",
        f"`python benchmarks/recipes.py {arguments}`. Percent; means over the OOD sets, then over "
        "the seeds, with the standard deviation. Higher AUROC and AP are better, lower FPR95. The "
        "first row of each recipe is its published score; networks of ImOOD are scored without a "
        "normaliser, as in its paper.",
        "",
        "| recipe | score | " + " | ".join(heading for heading, _, _ in COLUMNS) + " |",
        "|---|---|" + "---:|" * len(COLUMNS),
    ]
    path = RESULTS / f"{options.page or f'recipes-{options.dataset}'}.md"
    kept = rows_of(path) if path.is_file() and lines[2] in path.read_text("utf-8") else {}
    for run in RUNS:
        if run.title not in table:
            lines += kept.get(run.title, [])
            continue
        for number, score in enumerate(run.scores):
            found = cells(table[run.title], score)
            if found is not None:
                title = run.title if number == 0 else ""
                lines.append(f"| {title} | {score} | " + " | ".join(found) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows_of(path: Path) -> dict[str, list[str]]:
    """Rows of a table that was written before, by the title of their run."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            title = line.split("|")[1].strip() or title
            found.setdefault(title, []).append(line)
    return found


if __name__ == "__main__":
    main()
