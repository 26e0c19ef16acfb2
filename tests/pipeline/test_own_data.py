"""Own images: which change reruns prepare, which training, which splits are encoded again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from ltood.images.prepared import open_prepared
from ltood.pipeline import _watched
from ltood.pipeline._params import Params
from ltood.preparing.prepare import prepare

COUNTS = {"train": 3, "val": 2, "test": 2}
DATA = Path("data/mine")


def draw(path: Path, seed: int) -> None:
    """Write a small image; the size of the file is the same for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path.with_suffix(".bmp"))


class Outcome(NamedTuple):
    """What a run depends on and gives: files of `inputs`, and what prepare wrote."""

    inputs: str
    training: str
    splits: dict[str, str]


class Change(NamedTuple):
    """A change, whether prepare reruns for its files, whether training, and what is encoded."""

    name: str
    make: Callable[[dict], object]
    prepares: bool
    trains: bool
    encodes: set[str]


def replace(path: str, seed: int) -> None:
    """Another image in the same place, of the same size, with the same time."""
    before = (DATA / path).stat()
    draw(DATA / path, seed)
    os.utime(DATA / path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (DATA / path).stat().st_size == before.st_size


def move(source: str, target: str) -> None:
    (DATA / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(DATA / source, DATA / target)


def write(path: str, text: str) -> None:
    (DATA / path).write_text(text)


def archive(path: str, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.savez(DATA / path, images=images)


def setting(key: str, value: object) -> Callable[[dict], None]:
    return lambda folder: folder.__setitem__(key, value)


def file(function: Callable[..., None], *arguments: object) -> Callable[[dict], None]:
    return lambda folder: function(*arguments)


OOD = ["els=data/mine/els", "listed=data/mine/listed.txt", "packed=data/mine/packed.npz"]
MORE = "more=data/mine/more"
CHANGES = [
    Change("nothing", lambda folder: None, False, False, set()),
    Change("touched", lambda folder: os.utime(DATA / "train/red/0.bmp"), False, False, set()),
    Change("written anew", file(draw, DATA / "train/red/0.bmp", 0), False, False, set()),
    Change("train added", file(draw, DATA / "train/red/9.bmp", 90), True, True, {"train"}),
    Change("train removed", file(os.remove, DATA / "train/red/2.bmp"), True, True, {"train"}),
    Change("train replaced", file(replace, "train/red/0.bmp", 91), True, True, {"train"}),
    Change("train renamed", file(move, "train/red/2.bmp", "train/red/5.bmp"), True, False, set()),
    Change("label changed", file(move, "train/red/2.bmp", "train/blue/9.bmp"), True, True,
           {"train"}),
    Change("val replaced", file(replace, "val/red/0.bmp", 92), True, True, {"val"}),
    Change("val removed", file(shutil.rmtree, DATA / "val"), True, True, set()),
    Change("aux added", file(draw, DATA / "others/9.bmp", 93), True, True, {"aux"}),
    Change("aux replaced", file(replace, "others/0.bmp", 94), True, True, {"aux"}),
    Change("aux dropped", setting("aux", None), True, True, set()),
    Change("test added", file(draw, DATA / "test/red/9.bmp", 95), True, False, {"test"}),
    Change("test replaced", file(replace, "test/red/0.bmp", 96), True, False, {"test"}),
    Change("ood added to", file(draw, DATA / "els/9.bmp", 97), True, False, {"ood_els"}),
    Change("ood removed from", file(os.remove, DATA / "els/1.bmp"), True, False, {"ood_els"}),
    Change("ood replaced", file(replace, "els/0.bmp", 98), True, False, {"ood_els"}),
    Change("list shortened", file(write, "listed.txt", "far/1.bmp -1\n"), True, False,
           {"ood_listed"}),
    Change("listed replaced", file(replace, "far/0.bmp", 99), True, False, {"ood_listed"}),
    Change("listed beside", file(draw, DATA / "far/9.bmp", 99), False, False, set()),
    Change("npz replaced", file(archive, "packed.npz", 7), True, False, {"ood_packed"}),
    Change("set added", setting("ood", [*OOD, MORE]), True, False, {"ood_more"}),
    Change("set removed", setting("ood", OOD[1:]), True, False, set()),
    Change("set renamed", setting("ood", ["a=data/mine/els", *OOD[1:]]), True, False, set()),
    Change("sets in another order", setting("ood", OOD[::-1]), False, False, set()),
    Change("text beside images", file(write, "train/red/notes.txt", "x"), False, False, set()),
    Change("another size", setting("size", 6), True, True, {"train", "val", "test", "aux",
           "ood_els", "ood_listed", "ood_packed"}),
    Change("faults skipped", setting("on_error", "skip"), True, False, set()),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch) -> dict:
    """A workspace with own data; its section of params.yaml."""
    monkeypatch.chdir(tmp_path)
    seed = 0
    for split, count in COUNTS.items():
        for name in ("red", "blue"):
            for row in range(count):
                draw(DATA / split / name / f"{row}.bmp", seed)
                seed += 1
    for name in ("els", "far", "others", "more"):
        for row in range(2):
            draw(DATA / name / f"{row}.bmp", seed)
            seed += 1
    write("listed.txt", "far/0.bmp -1\nfar/1.bmp -1\n")
    archive("packed.npz", 6)
    root = str(DATA)
    return {"root": root, "size": 8, "ood": list(OOD), "aux": "data/mine/others"}


def outcome(folder: dict) -> Outcome:
    """Look at the inputs and prepare."""
    with Path("params.yaml").open("w") as file:
        YAML().dump({"dataset": "folder", "datasets": {"folder": folder}}, file)
    params = Params()
    chosen = params.chosen("dataset")
    inputs = json.dumps(_watched.data(params), sort_keys=True)
    out = Path("data/work/prepared")
    prepare(chosen.module.Dataset(chosen.config), chosen.name, chosen.settings, out)
    splits = open_prepared(out).manifest["splits"]
    contents = {name: entry["content"] for name, entry in splits.items()}
    return Outcome(inputs, (out / "training.json").read_text(), contents)


@pytest.mark.parametrize("change", CHANGES, ids=[change.name for change in CHANGES])
def test_own_data(folder, change):
    before = outcome(folder)
    change.make(folder)
    after = outcome(folder)
    assert (before.inputs != after.inputs) == change.prepares
    assert (before.training != after.training) == change.trains
    known = before.splits.values()
    assert {name for name, key in after.splits.items() if key not in known} == change.encodes


@pytest.mark.parametrize("size", [8, None])
def test_data_that_moved_retrain_and_encode_nothing(folder, size):
    folder |= {"size": size, "ood": OOD[:2]}
    before = outcome(folder)
    shutil.move(DATA, "elsewhere")
    moved = json.loads(json.dumps(folder).replace(str(DATA), "elsewhere"))
    after = outcome(moved)
    assert after.training == before.training
    assert after.splits == before.splits
    # Images that stay in files are read from where they are now.
    assert (after.inputs != before.inputs) == (size is None)
