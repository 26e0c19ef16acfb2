"""Class folders and lists without splits: division, and what counts as a class."""

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.datasets.folder import Config, Dataset
from ltood.images.prepared import open_prepared
from ltood.preparing.prepare import prepare

NUMBERS = {"cat": 20, "dog": 10, "Zürich émeu": 3, "one": 1}


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    seed = 0
    for name, num in NUMBERS.items():
        for row in range(num):
            image(tmp_path / "my photos" / name / f"{row}.png", seed)
            seed += 1
    return tmp_path / "my photos"


def dataset(root, **settings):
    return Dataset(parse({"root": str(root), **settings}, Config, "datasets.folder"))


def assigned(data):
    """Split of every picture by its path below the root."""
    found = {}
    for name in data.splits():
        files = data.split(name)
        found.update(dict.fromkeys(files.paths, name))
    return found


def per_class(data):
    names = data.class_names
    return {
        split: {
            names[label]: num for label, num in Counter(data.split(split).labels.tolist()).items()
        }
        for split in data.splits()
    }


FILE = Path("data/splits/my photos_70-10-20_0.csv")


def test_class_folders_are_divided_class_by_class(root):
    data = dataset(root)
    assert data.class_names == ("Zürich émeu", "cat", "dog", "one")
    found = per_class(data)
    for name, wanted in {"cat": (14, 2, 4), "dog": (7, 1, 2), "one": (1, 0, 0)}.items():
        assert tuple(found[split].get(name, 0) for split in ("train", "val", "test")) == wanted
    assert found["train"]["Zürich émeu"] in (2, 3)
    assert sum(len(data.split(name)) for name in data.splits()) == sum(NUMBERS.values())


def test_a_new_picture_moves_no_other(root):
    before = assigned(dataset(root))
    for row in range(20, 27):
        image(root / "cat" / f"{row}.png", 100 + row)
    image(root / "fox" / "a.png", 999)
    after = assigned(dataset(root))
    assert after.items() >= before.items()
    assert after["fox/a.png"] == "train"
    assert Counter(after[path] for path in after if path.startswith("cat/")) == {
        "train": 19,
        "val": 3,
        "test": 5,
    }


def test_the_division_depends_on_bytes_and_seed_alone(root, tmp_path):
    first = assigned(dataset(root))
    root.rename(tmp_path / "moved")
    assert assigned(dataset(tmp_path / "moved")) == first
    other = dataset(tmp_path / "moved", split_seed=1)
    assert assigned(other) != first
    assert per_class(other) == per_class(dataset(tmp_path / "moved"))
    halves = per_class(dataset(tmp_path / "moved", split=[0.5, 0, 0.5]))
    assert halves["train"]["cat"] == halves["test"]["cat"] == 10
    assert "val" not in halves


def test_the_file_may_be_edited_and_used_as_a_list(root):
    dataset(root).splits()
    rows = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines()))
    for row in rows:
        row["split"] = "test" if row["path"] == "cat/3.png" else row["split"]
        row["split"] = "val" if row["path"] == "cat/4.png" else row["split"]
    mine = Path("mine.csv")
    with mine.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("path", "label", "split"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    edited = assigned(dataset(root, split_file="mine.csv"))
    assert (edited["cat/3.png"], edited["cat/4.png"]) == ("test", "val")
    assert mine.read_text(encoding="utf-8").startswith("path,label,split,sha256\n")
    (root / "list.csv").write_text(mine.read_text(encoding="utf-8"), encoding="utf-8")
    assert assigned(dataset(root, manifest="list.csv")) == edited
    prepare(dataset(root, manifest="list.csv"), "folder", {}, Path("listed"))
    prepare(dataset(root, split_file="mine.csv"), "folder", {}, Path("divided"))
    listed, divided = (open_prepared(Path(name)).manifest for name in ("listed", "divided"))
    assert listed["splits"] == divided["splits"]


def test_pictures_of_the_same_bytes_stay_together(root):
    for row in range(20):
        content = (root / "cat" / f"{row}.png").read_bytes()
        (root / "cat" / f"copy {row}.png").write_bytes(content)
    found = assigned(dataset(root))
    assert all(found[f"cat/{row}.png"] == found[f"cat/copy {row}.png"] for row in range(20))
    (root / "dog" / "late.png").write_bytes((root / "cat" / "0.png").read_bytes())
    later = assigned(dataset(root))
    assert later["dog/late.png"] == found["cat/0.png"]


def test_a_picture_that_comes_back_keeps_its_split(root, tmp_path):
    before = assigned(dataset(root))
    (root / "cat" / "5.png").rename(tmp_path / "5.png")
    image(root / "cat" / "new.png", 500)
    dataset(root).splits()
    (tmp_path / "5.png").rename(root / "cat" / "renamed.png")
    assert assigned(dataset(root))["cat/renamed.png"] == before["cat/5.png"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("path,label,split\ncat/0.png,dog,train\n", "cat/0.png"),
        ("path,label,split\ncat/0.png,cat,often\n", "often"),
        ("path,label,split\ncat/0.png,cat,test\ncat/0.png,cat,train\n", "cat/0.png"),
        ("path,label,split,sha256\ncat/0.png,cat,test,12\n", "sha256"),
        ("path,label\ncat/0.png,cat\n", "split"),
        ("", "split"),
    ],
)
def test_a_bad_file_of_splits_is_named(root, text, key):
    Path("mine.csv").write_text(text)
    if text:
        with pytest.raises(DataError, match=key):
            dataset(root, split_file="mine.csv").splits()
    else:  # An empty file knows nothing yet.
        assert assigned(dataset(root, split_file="mine.csv")) == assigned(dataset(root))


def test_outliers_in_the_root_are_not_a_class(root, tmp_path):
    image(root / "objects" / "a.png", 1000)
    image(root / "far" / "deep" / "a.png", 1001)
    assert {"objects", "far"} <= set(dataset(root).class_names)
    data = dataset(root, ood=["objects", f"deep={root / 'far' / 'deep'}"])
    assert data.class_names == tuple(sorted(NUMBERS))
    assert data.split("ood_objects").paths == ("a.png",)
    assert any("far, objects" in note for note in data.split("train").notes)
    data = dataset(root, ood=["objects"], aux=f"{root}/far#1")
    assert data.class_names == tuple(sorted(NUMBERS))


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    root = tmp_path / "vehicles"
    for name in ("train", "bus"):
        for row in range(4):
            image(root / name / f"{row}.png", row + 10 * len(name))
    assert dataset(root).class_names == ("bus", "train")
    (root / "train" / "steam").mkdir()
    image(root / "train" / "steam" / "a.png", 77)
    with pytest.raises(DataError, match="if it is a class"):
        dataset(root).splits()


def test_missing_splits_are_taken_from_train(root, tmp_path):
    whole = tmp_path / "set"
    whole.mkdir()
    root.rename(whole / "train")
    found = per_class(dataset(whole))
    assert found["train"]["cat"] == 14
    assert found["val"]["cat"] == 2
    image(whole / "val" / "cat" / "a.png", 2000)
    found = per_class(dataset(whole))
    assert found["train"]["dog"] == 8
    assert found["test"]["dog"] == 2
    assert found["val"] == {"cat": 1}
    (whole / "val").rename(whole / "test")
    assert dataset(whole).splits() == ("train", "test")
    found = per_class(dataset(whole, val_share=0.2))
    assert found["val"] == {"cat": 4, "dog": 2, "Zürich émeu": 1}
    assert found["test"] == {"cat": 1}
    lines = Path("data/splits/set_80-20-0_0.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert all(line.startswith("train/") for line in lines)


def test_a_list_without_splits_is_divided_like_folders(root):
    rows = [(path, path.partition("/")[0]) for path in assigned(dataset(root))]
    text = "file_name,label,note\n" + "".join(f"{path}, {label},x\n" for path, label in rows)
    (root / "all.csv").write_text(text, encoding="utf-8")
    assert assigned(dataset(root / "all.csv")) == assigned(dataset(root))
    for parted, mark in (("semicolons.csv", ";"), ("tabs.csv", "\t")):
        (root / parted).write_text(text.replace(",", mark), encoding="utf-8")
        assert assigned(dataset(root / parted)) == assigned(dataset(root))
    with (root / "half.csv").open("w", encoding="utf-8") as file:
        file.write("path,label,split\n")
        for number, (path, label) in enumerate(rows):
            file.write(f"{path},{label},{'Testing' if number < 3 else ''}\n")
    half = assigned(dataset(root, manifest="half.csv", split_file="half_splits.csv"))
    assert {half[path] for path, _ in rows[:3]} == {"test"}
    assert set(half) == {path for path, _ in rows}


@pytest.mark.parametrize("name", [b"line\nbreak.png", b"\xe9.png"])
def test_names_that_no_list_can_hold_are_refused(root, name):
    target = os.fsencode(root / "cat") + b"/" + name
    shutil.copy(os.fsencode(root / "cat" / "0.png"), target)
    with pytest.raises(DataError, match="rename it"):
        dataset(root).splits()


def test_one_class_in_a_folder_too_many_is_explained(root, tmp_path):
    (tmp_path / "unpacked").mkdir()
    root.rename(tmp_path / "unpacked" / "photos")
    with pytest.raises(DataError, match=r"datasets\.folder\.root to .*unpacked/photos"):
        dataset(tmp_path / "unpacked").splits()


def test_pictures_in_no_folder_are_explained(tmp_path):
    image(tmp_path / "loose" / "a.png", 0)
    with pytest.raises(DataError, match="lie in no folder"):
        dataset(tmp_path / "loose").splits()


def test_classes_that_differ_in_case_are_remarked(root):
    image(root / "Cat" / "x.png", 3000)
    assert any("'Cat' and 'cat'" in note for note in dataset(root).split("train").notes)


@pytest.mark.parametrize("split", [[0.7, 0.1, 0.1], [0, 0.5, 0.5], [1.2, 0, -0.2], [0.9, 0.1, 0]])
def test_bad_shares_are_refused(root, split):
    with pytest.raises(ConfigError, match=r"folder\.split is"):
        dataset(root, split=split)
