"""Lists in OpenOOD's form, read as they are."""

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.datasets.image_lists import Config, Dataset

LISTS = {
    "train": ["c/train/cat/0.png 0", "c/train/dog/0.png 1", "c/train/cat/1.png 0"],
    "val": ["c/test/dog/0.png 1"],
    "test": ["c/test/cat/0.png 0", "c/test/dog/1.png 1"],
    "texture": ["dtd/a.png -1"],
    "shifted": ["cc/a.png 1"],
}


def dataset(root, **settings):
    lists = {f"{name}_list": f"lists/{name}.txt" for name in ("train", "val", "test")}
    given = {"root": str(root), "images": "images", **lists, **settings}
    return Dataset(parse(given, Config, "datasets.image_lists"))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "lists").mkdir()
    for name, lines in LISTS.items():
        (tmp_path / "lists" / f"{name}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            path = tmp_path / "images" / line.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            wide = np.zeros((8, 24, 3), np.uint8)
            wide[:, 8:16] = 200  # the middle third
            Image.fromarray(wide if name == "texture" else wide[:, :8]).save(path)
    return tmp_path


def test_lists_are_read_as_they_are(root):
    data = dataset(root)
    assert data.splits() == ("train", "val", "test")
    assert data.class_names == ("cat", "dog")
    train = data.split("train")
    assert train.paths == tuple(line.split()[0] for line in LISTS["train"])
    assert train.labels.tolist() == [0, 1, 0]
    assert data.split("val").labels.tolist() == [1]
    assert dataset(root, val_list=None).splits() == ("train", "test")


def test_outliers_are_cropped_as_the_images_are(root):
    """A wide image: its middle where crops are taken, the whole of it where not."""
    ood = [f"texture={root}/lists/texture.txt@{root}/images"]
    cropped = dataset(root, ood=ood, size=8, mode="centre_crop").split("ood_texture")
    assert (cropped.images == 200).all()
    assert (dataset(root, ood=ood, size=8).split("ood_texture").images == 0).any()
    assert dataset(root, ood=ood, size=8, mode="centre_crop").split("test").shape == (8, 8, 3)


def test_shifted_images_keep_their_classes(root):
    csid = [f"shifted={root}/lists/shifted.txt@{root}/images"]
    assert dataset(root, csid=csid, size=8).split("csid_shifted").labels.tolist() == [1]


def test_classes_without_folders_of_their_own_have_numbers(root):
    lines = ["c/train/cat/0.png 0", "c/train/cat/1.png 1"]
    (root / "lists" / "train.txt").write_text("\n".join(lines))
    assert dataset(root).class_names == ("0", "1")
    assert dataset(root, class_names=["a", "b"]).class_names == ("a", "b")


def test_a_change_of_a_list_is_watched(root):
    watched = dataset(root).watched()
    assert watched["train list"].paths == ("train.txt",)
    assert watched["test"].paths == ("c/test/cat/0.png", "c/test/dog/1.png")
    assert watched["test"].stay


@pytest.mark.parametrize(
    ("name", "lines", "settings", "named"),
    [
        ("test", ["c/test/cat/0.png 2"], {}, "class 2"),
        ("train", ["c/train/cat/0.png -1", "c/train/dog/0.png 1"], {}, "class -1"),
        ("train", ["c/train/cat/0.png 0"], {}, "one class"),
        ("train", LISTS["train"], {"class_names": ["a", "b", "c"]}, "class_names"),
    ],
)
def test_faults_of_lists_are_named(root, name, lines, settings, named):
    (root / "lists" / f"{name}.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=named):
        dataset(root, **settings).split(name)


def test_names_that_come_twice_are_refused(root):
    with pytest.raises(ConfigError, match="class_names"):
        dataset(root, class_names=["a", "a"])
