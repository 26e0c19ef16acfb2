"""What a change of a data set does to the manifest of what is watched."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import DataError
from ltood.core.registry import load
from ltood.core.settings import parse, to_section
from ltood.preparing.watch import manifest


def image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for row in range(3):
                image(root / "set" / split / name / f"{row}.png", row)
    for row in range(4):
        image(root / "far" / f"{row}.png", 10 + row)
        image(root / "images" / f"{row}.png", 20 + row)
    (root / "list.txt").write_text("0.png -1\n1.png -1\n2.png 1\n")
    (root / "shots.csv").write_text("path\ncat/0.png\ndog/1.png\n")
    np.savez(root / "aux.npz", images=np.zeros((3, 6, 5, 3), np.uint8))
    (root / "list.csv").write_text(
        "path,label,split\ntrain/cat/0.png,cat,train\ntrain/dog/0.png,dog,train\n"
        "test/cat/0.png,cat,test\n"
    )
    return root


def watched(data, entry="folder", **settings):
    module = load("datasets", entry)
    given = {
        "root": str(data / "set"),
        "ood": [f"far={data / 'far'}", f"near={data / 'list.txt'}"],
        "aux": f"{data / 'aux.npz'}#2",
        **settings,
    }
    config = parse(given, module.Config, f"datasets.{entry}")
    found = manifest(module.Dataset(config), entry, to_section(config), data / "known.sqlite")
    return json.loads(json.dumps(found))


def changed(before, after):
    keys = before["files"].keys() | after["files"].keys()
    return {key for key in keys if before["files"].get(key) != after["files"].get(key)}


def test_the_manifest_counts_files_and_names_no_place(data):
    found = watched(data, size=8)
    counts = {key: entry["files"] for key, entry in found["files"].items()}
    assert counts == {
        "train": 6,
        "test": 6,
        "aux": 1,
        "ood_far": 4,
        "ood_near list": 1,
        "ood_near": 3,
    }
    assert found["files"]["aux"]["rows"] == 2
    assert found["settings"]["size"] == 8
    assert str(data) not in json.dumps(found)


CHANGES = {
    "added": (lambda data: image(data / "set/train/cat/9.png"), {"train"}),
    "removed": (lambda data: (data / "set/test/dog/2.png").unlink(), {"test"}),
    "renamed": (
        lambda data: (data / "far/0.png").rename(data / "far/z.png"),
        {"ood_far"},
    ),
    "replaced": (lambda data: image(data / "set/train/dog/1.png", 99), {"train"}),
    "moved to another class": (
        lambda data: (data / "set/train/dog/1.png").rename(data / "set/train/cat/7.png"),
        {"train"},
    ),
    "a list edited": (
        lambda data: (data / "list.txt").write_text("0.png -1\n1.png -1\n2.png 0\n"),
        {"ood_near list"},
    ),
    "an image of a list": (lambda data: image(data / "images/1.png", 98), {"ood_near"}),
    "an image that no list names": (lambda data: image(data / "images/3.png", 97), set()),
    "an archive": (
        lambda data: np.savez(data / "aux.npz", images=np.ones((3, 6, 5, 3), np.uint8)),
        {"aux"},
    ),
    "two swapped": (
        lambda data: [
            (data / "far/0.png").rename(data / "far/t.png"),
            (data / "far/1.png").rename(data / "far/0.png"),
            (data / "far/t.png").rename(data / "far/1.png"),
        ],
        {"ood_far"},
    ),
    "notes beside images": (lambda data: (data / "far/notes.txt").write_text("x"), set()),
    "touched": (lambda data: (data / "far/0.png").touch(), set()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_shows_where_it_is_and_nowhere_else(data, name):
    change, wanted = CHANGES[name]
    before = watched(data)
    change(data)
    assert changed(before, watched(data)) == wanted


def test_a_link_to_a_folder_is_watched(data):
    before = watched(data)
    (data / "far" / "more").symlink_to(data / "images")
    linked = watched(data)
    assert linked["files"]["ood_far"]["files"] == 8
    image(data / "images" / "3.png", 55)
    assert changed(before, linked) == changed(linked, watched(data)) == {"ood_far"}


def test_lists_of_images_and_shots_are_watched(data):
    before = watched(data)
    shutil.copy(data / "list.csv", data / "set" / "list.csv")
    listed = watched(data, manifest="list.csv")
    assert changed(before, listed) == {"manifest", "train", "test"}
    few = watched(data, shots_list=str(data / "shots.csv"))
    assert changed(before, few) == {"shots_list"}
    (data / "shots.csv").write_text("path\ncat/0.png\ndog/2.png\n")
    assert changed(few, watched(data, shots_list=str(data / "shots.csv"))) == {"shots_list"}


def test_a_data_set_elsewhere_is_the_same_once_its_images_are_arrays(data, tmp_path):
    shutil.copytree(data, tmp_path / "elsewhere" / "copy")
    there = tmp_path / "elsewhere" / "copy"
    assert watched(data, size=8) == watched(there, size=8)
    # Image files are read where they lie, so prepared data must learn the place.
    assert changed(watched(data), watched(there)) == {"train", "test", "ood_far", "ood_near"}


@pytest.mark.parametrize("is_absolute", [False, True])
def test_the_folder_of_an_experiment_sees_the_images_of_the_workspace(
    data, monkeypatch, is_absolute
):
    inner = data.parent / ".dvc" / "tmp" / "exps" / "tmpabc"
    inner.mkdir(parents=True)
    base = data if is_absolute else Path("data")
    settings = {"root": str(base / "set"), "ood": [f"far={base / 'far'}"], "aux": None}
    found = []
    for folder in (data.parent, inner):
        monkeypatch.chdir(folder)
        found.append(watched(data, **settings))
    assert found[0] == found[1]
    assert found[0]["files"]["train"]["root"] == "data/set/train"


def test_ood_sets_come_and_go_by_name(data):
    before = watched(data)
    fewer = watched(data, ood=[f"far={data / 'far'}"])
    assert changed(before, fewer) == {"ood_near", "ood_near list"}
    renamed = watched(data, ood=[f"away={data / 'far'}"])
    assert changed(fewer, renamed) == {"ood_far", "ood_away"}
    assert renamed["files"]["ood_away"] == fewer["files"]["ood_far"]


def test_archives_and_class_names_are_watched(tmp_path):
    for name, rows in (("train", 4), ("test", 2), ("ood_x", 2)):
        images = np.zeros((rows, 4, 4, 3), np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(rows) % 2)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    settings = {"root": str(tmp_path), "ood": [], "aux": None, "class_names": "names.txt"}
    before = watched(tmp_path, "npz", **settings)
    assert set(before["files"]) == {"train", "test", "ood_x", "class_names"}
    (tmp_path / "names.txt").write_text("cat\nyak\n")
    assert changed(before, watched(tmp_path, "npz", **settings)) == {"class_names"}
    settings["class_names"] = str(tmp_path / "names.txt")
    assert changed(before, watched(tmp_path, "npz", **settings)) == {"class_names"}
    settings["class_names"] = "/dev/zero"
    with pytest.raises(DataError, match="not a regular file"):
        watched(tmp_path, "npz", **settings)


def test_a_missing_source_is_named(data):
    shutil.rmtree(data / "far")
    with pytest.raises(DataError, match="ood_far"):
        watched(data)


def test_lists_of_imagenet_lt_are_watched(data):
    for name in ("train", "val", "test"):
        (data / "far" / f"ImageNet_LT_{name}.txt").write_text("0.png 0\n1.png 1\n")
    settings = {"root": str(data / "far"), "ood": [], "aux": None}
    before = watched(data, "imagenet_lt", **{**settings, "official_counts": False})
    assert set(before["files"]) == {
        *("train list", "val list", "test list"),
        *("train", "val", "test"),
    }
    (data / "far" / "ImageNet_LT_val.txt").write_text("0.png 0\n2.png 1\n")
    after = watched(data, "imagenet_lt", **{**settings, "official_counts": False})
    assert changed(before, after) == {"val list", "val"}
