"""A newcomer's path: from a folder of pictures to verdicts, and which stages each change reruns.

    python benchmarks/newcomer.py --work /tmp/newcomer
    python benchmarks/newcomer.py --work /tmp/newcomer --pictures photos --more more --ood others
        --page docs/results/newcomer.md

Without pictures it draws some. One command makes a repository, one gives report and detector, one
gives verdicts as CSV. Then a picture, a class, an OOD set and another method follow; after each the
stages that DVC ran are compared with those that the change can concern. Without `--weights` the
network is a small untrained one: figures mean nothing then, the path is the same. Nothing is
fetched. Prints the table and, where `--page` names one, writes a page.
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STAGES = ("prepare", "train", "extract", "adapt", "visualise", "calibrate", "score", "normalise",
          "export", "evaluate", "compare", "examples", "report")  # fmt: skip
#: What another method concerns; the leaderboard shows it anyway.
SCORED = {"score", "normalise", "export", "evaluate", "examples", "report"}
MODEL = "test_resnet"


@dataclass(frozen=True)
class Commands:
    """How commands are run.

    Attributes:
        ltood: Runs an ltood command in the current folder.
        repro: Runs `dvc repro` in the repository and gives the stages that ran, without `inputs`.
    """

    ltood: Callable[..., None]
    repro: Callable[[Path], set[str]]


def draw(path: Path, kind: int, seed: int, side: int = 48) -> None:
    """Write a picture of a kind: stripes of a width, direction and colour of its own, and noise."""
    from PIL import Image

    random = np.random.default_rng([kind, seed])
    rows, columns = np.mgrid[:side, :side]
    along = rows if kind % 2 else columns
    stripes = ((along + random.integers(side)) // (2 + kind)) % 2
    colour = np.random.default_rng(kind).integers(60, 256, 3)
    pixels = stripes[..., None] * colour + random.normal(0, 20, (side, side, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def drawn(folder: Path) -> tuple[Path, Path, Path]:
    """Draw class folders with names as people give them, further pictures, and outliers."""
    pictures = folder / "my photos"
    for kind, (name, num) in enumerate({"barn": 20, "Café à Köln": 10, "dam": 4}.items()):
        for seed in range(num):
            draw(pictures / name / f"IMG {seed:04d}.png", kind, seed)
    for seed in range(6):
        draw(folder / "more" / "eel" / f"{seed}.png", 3, seed)
        draw(folder / "others" / f"{seed}.png", 7, seed)
        draw(pictures / "objects" / f"{seed}.png", 9, seed)
    draw(folder / "more" / "barn" / "new.png", 0, 99)
    return pictures, folder / "more", folder / "others"


def untrained(path: Path, model: str = MODEL) -> Path:
    """Write the weights of a small network that has learned nothing."""
    import timm
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model(model, pretrained=False, num_classes=3).state_dict(), path)
    return path


def change_settings(repository: Path, change: Callable[[dict], None]) -> None:
    """Edit params.yaml as a person would."""
    from ruamel.yaml import YAML

    yaml, path = YAML(), repository / "params.yaml"
    content = yaml.load(path.read_text(encoding="utf-8"))
    change(content)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def path_of_a_newcomer(
    commands: Commands,
    work: Path,
    sources: tuple[Path, Path, Path],
    *,
    weights: Path,
    model: str = MODEL,
    inside: str = "objects",
    settle: Callable[[dict], None] = lambda content: None,
    is_short: bool = False,
) -> list[tuple[str, set[str], set[str], float]]:
    """Walk the path.

    Args:
        commands: How commands are run.
        work: Empty folder for the repository.
        sources: Class folders, which are added to; class folders to add; an OOD set to add.
        weights: File of the network's weights.
        model: The network, of timm.
        inside: Folder among the class folders that is the first OOD set.
        settle: Changes the settings before the first run.
        is_short: Leave out the last verdicts.

    Returns:
        What was done, the stages that ran, those that had to, and seconds.
    """
    pictures, more, others = sources
    repository, rows = work / "project", []
    commands.ltood("new", str(repository), "--pictures", str(pictures), "--ood", inside,
                   "--model", model, "--weights", str(weights))  # fmt: skip
    compared = {"calibrators": ["none"], "methods": ["hpm", "energy", "msp"]}
    change_settings(repository, lambda content: content["compare"].update(compared))
    change_settings(repository, settle)

    def run(what: str, wanted: set[str]) -> None:
        start = time.perf_counter()
        rows.append((what, commands.repro(repository), wanted, time.perf_counter() - start))

    run("first run", set(STAGES))
    for name in ("report.html", "detector.safetensors", "metrics.json"):
        if not (repository / "results" / name).is_file():
            raise SystemExit(f"there is no results/{name}")
    verdicts(commands, repository, [pictures, others])
    run("nothing", set())
    change_settings(repository, lambda content: content.update(method="energy"))
    run("another method", SCORED)
    _add_to_a_class(repository, pictures, more, run, rows)
    change_settings(
        repository,
        lambda content: content["datasets"]["folder"]["ood"].append(f"others={others}"),
    )
    run("a new OOD set", set(STAGES) - {"train"})
    new = next(path for path in sorted(more.iterdir()) if not (pictures / path.name).is_dir())
    shutil.copytree(new, pictures / new.name)
    run("a new class", set(STAGES))
    if not is_short:
        verdicts(commands, repository, [pictures, others])
    return rows


def _add_to_a_class(
    repository: Path,
    pictures: Path,
    more: Path,
    run: Callable[[str, set[str]], None],
    rows: list[tuple[str, set[str], set[str], float]],
) -> None:
    """Add pictures of a known class; training reruns only if some are for training."""
    before = trained_on(repository)
    known = next(path for path in sorted(more.iterdir()) if (pictures / path.name).is_dir())
    shutil.copytree(known, pictures / known.name, dirs_exist_ok=True)
    run("new pictures", set(STAGES))
    if trained_on(repository) == before:
        what, ran, wanted, seconds = rows.pop()
        rows.append((what, ran, wanted - {"train"}, seconds))


def trained_on(repository: Path) -> object:
    """What training sees of the pictures."""
    return json.loads((repository / "data/work/prepared/training.json").read_bytes())


def verdicts(commands: Commands, repository: Path, inputs: list[Path]) -> None:
    """Judge pictures and check that each has its row."""
    out = repository / "verdicts.csv"
    out.unlink(missing_ok=True)
    names = [str(path) for path in inputs]
    commands.ltood("predict", str(repository / "results/detector.safetensors"), *names,
                   "--out", str(out))  # fmt: skip
    with out.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    num = sum(path.is_file() for folder in inputs for path in folder.rglob("*"))
    if len(found) != num:
        raise SystemExit(f"{len(found)} verdicts of {num} pictures")


def ltood(*arguments: str) -> None:
    """Run an ltood command."""
    code = "from ltood.cli import main; main()"
    subprocess.run((sys.executable, "-c", code, *arguments), check=True)


def dvc_repro(repository: Path) -> set[str]:
    """Run `dvc repro`; stages that ran, by its own words."""
    command = (sys.executable, "-m", "dvc", "repro")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=repository,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    return set(re.findall(r"Running stage '(\w+)'", done.stdout)) - {"inputs"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="empty folder to work in")
    parser.add_argument("--pictures", type=Path, help="class folders; they are copied")
    parser.add_argument(
        "--more", type=Path, help="class folders to add, one of them of a new class"
    )
    parser.add_argument("--ood", type=Path, help="pictures of other things")
    parser.add_argument("--inside", default="objects", help="folder in the pictures that is OOD")
    parser.add_argument("--model", default=MODEL, help="network of timm")
    parser.add_argument("--weights", type=Path, help="file of its weights")
    parser.add_argument("--page", type=Path, help="page of Markdown to write")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    work = given.work.resolve()
    if given.pictures is None:
        sources = drawn(work)
    else:
        shutil.copytree(given.pictures, work / "pictures")
        sources = work / "pictures", given.more.resolve(), given.ood.resolve()
    weights = given.weights or untrained(work / "untrained.pth", given.model)
    rows = path_of_a_newcomer(
        Commands(ltood, dvc_repro), work, sources, weights=weights, model=given.model,
        inside=given.inside,
    )  # fmt: skip
    wrong = 0
    for what, ran, wanted, seconds in rows:
        names = ", ".join(stage for stage in STAGES if stage in ran) or "nothing"
        print(f"{what:<16}{seconds:6.1f} s  {names}")
        if ran != wanted:
            wrong += 1
            print(f"{'':<16}wrong: too much {sorted(ran - wanted)}, lacking {sorted(wanted - ran)}")
    if given.page is not None:
        given.page.write_text(page(rows, sources[0], sources[2]), encoding="utf-8")
    raise SystemExit(int(wrong > 0))


def page(rows: list[tuple[str, set[str], set[str], float]], *folders: Path) -> str:
    """The table as a page, with the number of pictures and times beside the first run."""
    num = sum(path.is_file() for folder in folders for path in folder.rglob("*"))
    lines = [
        "# A newcomer's path",
        "",
        f"From {num} pictures to report, detector and verdicts with `ltood new`, `dvc repro` and",
        "`ltood predict`, then one change after another, each followed by `dvc repro`. DVC names",
        "the stages that it ran; `inputs`, which looks at the pictures, runs each time. The",
        "machine was busy, so read the times as rough.",
        "",
        "| Change | Stages that ran | Time beside the first run |",
        "|---|---|---|",
    ]
    first = rows[0][3]
    for what, ran, wanted, seconds in rows:
        left_out = [stage for stage in STAGES if stage not in ran]
        names = ", ".join(stage for stage in STAGES if stage in ran) or "none"
        if len(left_out) <= 1:
            names = f"all but {left_out[0]}" if left_out else "all"
        said = names if ran == wanted else f"{names} (**wrong**)"
        lines.append(f"| {what} | {said} | {seconds / first:.2f} |")
    return "\n".join([*lines, "", "`benchmarks/newcomer.py` writes this page.", ""])


if __name__ == "__main__":
    main()
