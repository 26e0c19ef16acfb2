"""A small repository for `stress.py`, and what is run in it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parents[1]
#: Folders of unfinished work, by stage; DVC leaves them alone.
UNFINISHED = {
    "train": "data/work/training",
    "extract": "data/work/extracting",
    "adapt": "data/work/adapting",
}
#: When and where results were made: no two runs agree, and the report shows it.
RECORDS = "data/work/runs"
#: Files that differ from run to run, which is said where they are written.
_FREE = ("timings.csv",)


class Command(NamedTuple):
    """A stage or a command.

    Attributes:
        name: As the table names it.
        arguments: Of `ltood`; none for a stage.
        outs: What it writes.
        deps: What it reads.
        free: Whether it refuses to replace an older result.
    """

    name: str
    arguments: tuple[str, ...]
    outs: tuple[str, ...]
    deps: tuple[str, ...]
    free: bool = False


def commands() -> list[Command]:
    """All stages in order, then the commands, each with what it reads and writes."""
    from ltood.runtime.params import read_params

    found = []
    for name, stage in read_params(HERE / "dvc.yaml")["stages"].items():
        outs = [*stage.get("outs", ()), *stage.get("metrics", ())]
        found.append(Command(name, (), tuple(outs), tuple(stage.get("deps", ()))))
    return [*found, *_of_arrays(), *_of_stores()]


def _of_arrays() -> list[Command]:
    """Commands without a pipeline, from arrays to a report."""
    store, slots = "--store mine.zarr --device cpu", "--method knn"
    scores = "--scores mine_scores.zarr"
    return [
        _command("import arrays --store mine.zarr --overwrite", "arrays", "mine.zarr"),
        _command(
            f"score {store} {slots} --overwrite --out mine_scores.zarr",
            "mine.zarr",
            "mine_scores.zarr",
        ),
        _command(f"compare {store} --method msp {slots} --out board", "mine.zarr", "board"),
        _command(
            f"sweep knn {store} --grid k=1,2 --validation-ood aux --out swept",
            "mine.zarr",
            "swept",
        ),
        _command(
            f"export-detector {store} {slots} --overwrite --out mine.safetensors",
            "mine.zarr",
            "mine.safetensors mine.json",
        ),
        _command(f"evaluate {scores} --out mine.metrics", "mine_scores.zarr", "mine.metrics"),
        _command(
            "predict mine.safetensors arrays/test.npz --out rows.csv",
            "mine.safetensors mine.json",
            "rows.csv",
        ),
        _command(f"report {scores} --out mine.html", "mine_scores.zarr", "mine.html"),
        _command("export mine_scores.zarr --out rows.parquet", "mine_scores.zarr", "rows.parquet"),
        _command("figure mine_scores.zarr --kind roc --out roc.svg", "mine_scores.zarr", "roc.svg"),
        _command(f"adapt {store} --recipe linear_probe --out fitted", "mine.zarr", "fitted"),
        _command("push mine.zarr pushed", "mine.zarr", "pushed", free=True),
        _command("pull pushed pulled.zarr --overwrite", "pushed", "pulled.zarr"),
    ]


def _of_stores() -> list[Command]:
    """`ltood store`; `repair` has trials of its own."""
    features, made_of = "data/work/features.zarr", "data/work/checkpoint data/work/prepared"
    return [
        _command("store extract extracted.zarr --device cpu", made_of, "extracted.zarr"),
        _command(f"store verify {features}", features, ""),
        _command(f"store copy {features} copied.zarr", features, "copied.zarr", free=True),
        _command(
            "store merge mine.zarr mine.zarr --out merged.zarr",
            "mine.zarr",
            "merged.zarr",
            free=True,
        ),
        _command(
            "store rechunk mine.zarr --rows 7 --out small.zarr",
            "mine.zarr",
            "small.zarr",
            free=True,
        ),
    ]


def _command(line: str, deps: str, outs: str, *, free: bool = False) -> Command:
    words = line.split()
    name = " ".join(words[: 2 if words[0] == "store" else 1])
    return Command(f"ltood {name}", tuple(words), tuple(outs.split()), tuple(deps.split()), free)


def write_sources(folder: Path, seed: int) -> None:
    """Settings, images and arrays of a new repository."""
    rng = np.random.default_rng(seed)
    for name in ("images", "arrays"):
        (folder / name).mkdir(parents=True)
    shapes = rng.integers(0, 90, (4, 16, 16, 3))
    means = 3 * rng.normal(size=(4, 16))
    rows = {"train": 96, "val": 32, "test": 40, "aux": 24, "ood_far": 24, "ood_near": 16}
    for name, count in rows.items():
        labels, is_id = np.arange(count) % 4, name in ("train", "val", "test")
        noise = rng.integers(0, 120, (count, 16, 16, 3))
        images = (noise + (shapes[labels] if is_id else 40)).astype(np.uint8)
        features = np.abs(rng.normal(size=(count, 16)) + (means[labels] if is_id else 0))
        given = {"labels": labels} if is_id else {}
        np.savez(folder / "images" / f"{name}.npz", images=images, **given)
        np.savez(folder / "arrays" / f"{name}.npz", features=features.astype("float32"), **given)
    np.savez(folder / "arrays" / "head.npz", weight=means, bias=np.zeros(4))
    write_params(folder / "params.yaml", seed)


def write_params(path: Path, seed: int) -> None:
    """The settings of this repository, cut down to what takes a second."""
    from ruamel.yaml import YAML

    yaml = YAML()
    content: dict[str, Any] = yaml.load((HERE / "params.yaml").read_text(encoding="utf-8"))
    content |= {"dataset": "npz", "method": "knn", "seed": seed, "device": "cpu"}
    content["datasets"]["npz"] |= {"root": "images", "imbalance": "none"}
    content["training"] |= {"epochs": 2, "batch_size": 32, "checkpoint_epochs": 1}
    content["extraction"] |= {"rows_per_chunk": 8, "batch_size": 16}
    content["methods"]["knn"]["k"] = 3
    content["compare"]["methods"] = ["msp", "knn"]
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def content(folder: Path, outs: tuple[str, ...]) -> dict[str, bytes]:
    """Every file of what a command wrote, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in _files(folder, outs)
        if path.is_file() and path.name not in _FREE
    }


def _files(folder: Path, outs: tuple[str, ...]) -> Iterator[Path]:
    for out in outs:
        place = folder / out
        yield from (
            [place] if place.is_file() else sorted(place.rglob("*")) if place.is_dir() else ()
        )


def copy(source: Path, target: Path) -> None:
    """Copy a repository with its links, those of files with two names among them."""
    remove(target)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def remove(*paths: Path) -> None:
    """Remove files and folders that may be there."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
