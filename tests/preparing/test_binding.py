"""Prepared data are bound to their content: readers refuse anything else."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import CorruptStoreError, DataError
from ltood.core.registry import load
from ltood.core.settings import parse, to_section
from ltood.images.arrays import ImageSplit
from ltood.images.prepared import open_prepared
from ltood.images.sources import images_digest
from ltood.preparing.prepare import prepare


class Arrays:
    """Two classes, outliers and an OOD set; a test changes what it is about."""

    def __init__(self, ood="far"):
        rng = np.random.default_rng(0)
        self.class_names = ("cat", "dog")
        self.content = {
            name: [
                rng.integers(0, 256, (rows, 4, 4, 3)).astype(np.uint8),
                np.arange(rows) % 2 if name in ("train", "val", "test") else np.full(rows, -1),
                np.arange(rows) * 3,
            ]
            for name, rows in (("train", 6), ("val", 4), ("test", 5), ("aux", 3), (f"ood_{ood}", 4))
        }

    def splits(self):
        return tuple(self.content)

    def split(self, name):
        return ImageSplit(*self.content[name])


def run(dataset, out, name="toy", settings=None):
    prepare(dataset, name, settings or {}, out)
    return open_prepared(out)


def flip(path, place=-8):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("split", "array"),
    [
        *((split, array) for split in ("train", "test") for array in ("images", "labels", "ids")),
        ("ood_far", "images"),
        ("ood_far", "ids"),
    ],
)
def test_a_flipped_bit_is_refused_on_first_touch(tmp_path, split, array):
    run(Arrays(), tmp_path / "prepared")
    flip(tmp_path / "prepared" / split / f"{array}.npy")
    prepared = open_prepared(tmp_path / "prepared")
    for reader in (prepared.source, prepared.split):
        with pytest.raises(CorruptStoreError, match=rf"{split}/{array}\.npy"):
            reader(split)
    for other in set(prepared.splits()) - {split}:
        prepared.split(other)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    prepared, file = run(Arrays(), tmp_path / "prepared"), "test/labels.npy"
    (tmp_path / "prepared" / file).unlink()
    os.mkfifo(tmp_path / "prepared" / file)
    with pytest.raises(CorruptStoreError, match=file):
        prepared.split("test")


def test_a_split_is_compared_once(tmp_path, monkeypatch):
    prepared = run(Arrays(), tmp_path / "prepared")
    hashed = []
    monkeypatch.setattr(
        "ltood.images.prepared.array_sha256", lambda _: hashed.append(1) or "0" * 64
    )
    for _ in range(2):
        with pytest.raises(CorruptStoreError):
            prepared.source("train")
    assert hashed
    monkeypatch.undo()
    first = prepared.source("train")
    monkeypatch.setattr("ltood.images.prepared.array_sha256", None)
    assert prepared.source("train") is prepared.split("train") is first


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", ["dog", "cat"]),
        ("class_counts", [4, 2]),
        ("settings", {"size": 3}),
        ("dataset", "other"),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path, key, value):
    run(Arrays(), tmp_path / "prepared")
    file = tmp_path / "prepared" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(CorruptStoreError, match=r"manifest\.json was edited"):
        open_prepared(tmp_path / "prepared")


@pytest.mark.parametrize("link", [False, True])
def test_the_manifest_of_another_run_is_refused(tmp_path, link):
    run(Arrays(), tmp_path / "one")
    other = Arrays()
    other.content["train"][0] = 255 - other.content["train"][0]
    run(other, tmp_path / "two")
    for name in ("manifest.json", "training.json"):
        place = tmp_path / "one" / name
        place.unlink()
        if link:
            place.symlink_to(tmp_path / "two" / name)
        else:
            shutil.copy(tmp_path / "two" / name, place)
    prepared = open_prepared(tmp_path / "one")
    with pytest.raises(CorruptStoreError, match=r"train/images\.npy"):
        _ = prepared.class_counts


def test_training_json_of_another_run_is_refused(tmp_path):
    run(Arrays(), tmp_path / "prepared")
    file = tmp_path / "prepared" / "training.json"
    file.write_text(file.read_text().replace("cat", "yak"))
    with pytest.raises(CorruptStoreError, match=r"training\.json"):
        open_prepared(tmp_path / "prepared")


def changed(change, tmp_path, **arguments):
    """Splits whose content differs after a change, and whether training would see it."""
    before = run(Arrays(), tmp_path / "before")
    dataset = Arrays()
    change(dataset.content)
    after = run(dataset, tmp_path / "after", **arguments)
    contents = [
        {name: entry["content"] for name, entry in found.manifest["splits"].items()}
        for found in (before, after)
    ]
    differing = {name for name in contents[0] if contents[0][name] != contents[1].get(name)}
    files = [found.path / "training.json" for found in (before, after)]
    return differing, files[0].read_bytes() != files[1].read_bytes()


def swapped(content):
    content["train"][0] = content["train"][0][[1, 0, 2, 3, 4, 5]]


def flattened(content):
    for arrays in content.values():
        arrays[0] = arrays[0].reshape(len(arrays[0]), 2, 8, 3)


SPLITS = {"train", "val", "test", "aux", "ood_far"}


@pytest.mark.parametrize(
    ("change", "differing", "retrains"),
    [
        (lambda _: None, set(), False),
        (lambda content: content.pop("ood_far"), {"ood_far"}, False),
        (lambda content: content["test"][0].__setitem__((0, 0, 0, 0), 7), {"test"}, False),
        (lambda content: content["aux"][0].__setitem__((0, 0, 0, 0), 7), {"aux"}, True),
        (lambda content: content["val"][2].__setitem__(0, 99), {"val"}, True),
        (swapped, {"train"}, True),
        (flattened, SPLITS, True),
    ],
)
def test_content_follows_the_images_and_nothing_else(tmp_path, change, differing, retrains):
    assert changed(change, tmp_path) == (differing, retrains)


def test_names_and_settings_are_no_content(tmp_path):
    named = {"name": "other", "settings": {"root": "elsewhere", "ood": ["a=b"]}}
    assert changed(lambda _: None, tmp_path, **named) == (set(), False)
    far, near = run(Arrays(), tmp_path / "far"), run(Arrays("near"), tmp_path / "near")
    assert (
        far.manifest["splits"]["ood_far"]["content"]
        == near.manifest["splits"]["ood_near"]["content"]
    )


# Image files.


def image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(("train/a/1", "train/b/1", "test/a/1", "test/b/1", "far/1")):
        image(tmp_path / "data" / f"{name}.png", number)
    return tmp_path / "data"


def prepared_folder(root, out, hashes=None, **settings):
    module = load("datasets", "folder")
    given = {"root": str(root), "ood": [f"far={root / 'far'}"], **settings}
    config = parse(given, module.Config, "datasets.folder")
    prepare(module.Dataset(config), "folder", to_section(config), out, hashes)
    return open_prepared(out)


@pytest.mark.parametrize("size", [None, 6])
def test_a_data_set_moved_elsewhere_has_the_same_content(root, tmp_path, size):
    here = prepared_folder(root, tmp_path / "here", size=size)
    shutil.move(root, tmp_path / "moved")
    there = prepared_folder(tmp_path / "moved", tmp_path / "there", size=size)
    for name in here.splits():
        entries = [found.manifest["splits"][name] for found in (here, there)]
        assert entries[0]["content"] == entries[1]["content"]
    training = [(found.path / "training.json").read_bytes() for found in (here, there)]
    assert training[0] == training[1]
    # Arrays are the same files, so that the pipeline goes no further.
    assert (here.manifest == there.manifest) == (size is not None)


@pytest.mark.parametrize("size", [None, 6])
@pytest.mark.parametrize(("split", "name"), [("ood_far", "far/1"), ("train", "train/a/1")])
def test_a_renamed_image_is_the_same_content_in_the_same_place(root, tmp_path, size, split, name):
    before = prepared_folder(root, tmp_path / "before", size=size)
    (root / f"{name}.png").rename(root / f"{name}é.png")
    after = prepared_folder(root, tmp_path / "after", size=size)
    entries = [found.manifest["splits"][split] for found in (before, after)]
    assert entries[0]["content"] == entries[1]["content"]
    assert entries[0]["paths_sha256"] != entries[1]["paths_sha256"]
    assert images_digest(before) == images_digest(after)
    assert after.source(split).paths[0].endswith("1é.png")
    training = [(found.path / "training.json").read_bytes() for found in (before, after)]
    assert training[0] == training[1]


def test_images_of_one_size_are_named_by_their_files(root, tmp_path):
    (root / "train/a/0.jpg").write_bytes(b"<!DOCTYPE html><p>404")
    data = prepared_folder(root, tmp_path / "prepared", size=6, on_error="skip")
    assert data.split("train").paths == ("a/1.png", "b/1.png")
    assert data.split("ood_far").paths == ("1.png",)
    assert data.split("train").take(np.array([1])).paths == ("b/1.png",)
    paths = tmp_path / "prepared/train/paths.txt"
    paths.write_text("b/1.png\na/1.png\n")
    with pytest.raises(CorruptStoreError, match="paths"):
        open_prepared(tmp_path / "prepared").source("train")


def test_an_image_replaced_after_preparing_is_refused(root, tmp_path):
    files = prepared_folder(root, tmp_path / "prepared").source("train")
    files.image(1)
    image(root / "train/b/1.png", 99)
    with pytest.raises(DataError, match=r"b/1\.png was changed after it was prepared"):
        files.image(1)


@pytest.mark.parametrize("size", [None, 6])
def test_skipped_files_read_the_same_in_every_run(root, tmp_path, size):
    (root / "train/a/0.jpg").write_bytes(b"")
    (root / "train/a/2.png").write_bytes(b"<!DOCTYPE html><p>404")
    (root / "far/9.jpg").write_bytes(b"neither one nor the other")
    runs = [
        prepared_folder(root, tmp_path / str(number), size=size, on_error="skip")
        for number in range(2)
    ]
    assert runs[0].manifest == runs[1].manifest
    empty, page = runs[0].manifest["splits"]["train"]["skipped"]
    assert empty.startswith("a/0.jpg ")
    assert "empty" in empty
    assert "web page" in page
    (other,) = runs[0].manifest["splits"]["ood_far"]["skipped"]
    assert "0x" not in other
    assert str(root) not in json.dumps(
        [entry.get("skipped") for entry in runs[0].manifest["splits"].values()]
    )


@pytest.mark.parametrize("size", [None, 6])
@pytest.mark.parametrize("name", ["train/a/0", "far/0"])
def test_a_file_that_cannot_be_decoded_names_the_setting(root, tmp_path, size, name):
    (root / f"{name}.jpg").write_bytes(b"<!DOCTYPE html>")
    split = "train" if "train" in name else "ood_far"
    with pytest.raises(DataError, match=rf"^{split}: .*0\.jpg .*datasets\.folder\.on_error"):
        prepared_folder(root, tmp_path / "prepared", size=size)


def test_what_is_remembered_changes_nothing_that_is_prepared(root, tmp_path):
    (root / "far/9.jpg").write_bytes(b"")
    plain = prepared_folder(root, tmp_path / "plain", on_error="skip")
    for number in range(2):
        known = prepared_folder(
            root, tmp_path / str(number), tmp_path / "known.sqlite", on_error="skip"
        )
        assert known.manifest == plain.manifest
