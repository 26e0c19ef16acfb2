import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.datasets import imagenet_lt
from ltood.datasets.imagenet_lt import Config, Dataset


def dataset(root, **settings):
    return Dataset(parse({"root": str(root), **settings}, Config, "datasets.imagenet_lt"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three classes: five, two and three images, as a published list would have it."""
    monkeypatch.setattr(imagenet_lt, "NUM_CLASSES", 3)
    monkeypatch.setattr(imagenet_lt, "LINES", {"train": 10, "val": 3, "test": 3})
    monkeypatch.setattr(imagenet_lt, "_LARGEST", 5)
    monkeypatch.setattr(imagenet_lt, "_SMALLEST", 2)
    lines = {"train": [], "val": [], "test": []}
    for label, num in enumerate((5, 2, 3)):
        for row in range(num):
            lines["train"].append(f"train/n{label}/{row}.JPEG {label}")
        lines["val"].append(f"train/n{label}/0.JPEG {label}")
        lines["test"].append(f"val/n{label}/0.JPEG {label}")
    for entries in lines.values():
        for entry in entries:
            path = tmp_path / entry.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    for name, entries in lines.items():
        (tmp_path / f"ImageNet_LT_{name}.txt").write_text("\n".join(entries) + "\n")
    return tmp_path


def test_lists_give_splits_and_counts(root):
    data = dataset(root)
    assert data.splits() == ("train", "val", "test")
    assert np.bincount(data.split("train").labels).tolist() == [5, 2, 3]
    assert data.split("test").paths[0] == "val/n0/0.JPEG"
    assert dataset(root, val_list=None).splits() == ("train", "test")


def test_lists_of_another_length_are_refused_unless_allowed(root):
    path = root / "ImageNet_LT_train.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"lists 9 images, .* 10"):
        dataset(root).split("train")
    assert len(dataset(root, official_counts=False).split("train")) == 9


def test_lists_of_another_balance_are_refused(root):
    path = root / "ImageNet_LT_train.txt"
    text = path.read_text().replace("train/n0/4.JPEG 0", "train/n0/4.JPEG 1")
    path.write_text(text)
    with pytest.raises(DataError, match="has 4 images of its largest class and 3 of its"):
        dataset(root).split("train")


def test_a_class_out_of_range_is_refused(root):
    path = root / "ImageNet_LT_test.txt"
    path.write_text(path.read_text().replace("n2/0.JPEG 2", "n2/0.JPEG 3"))
    with pytest.raises(DataError, match=r"gives 'val/n2/0\.JPEG' the class 3; classes run from 0"):
        dataset(root).split("test")


def test_a_missing_list_is_named(root):
    (root / "ImageNet_LT_val.txt").unlink()
    with pytest.raises(DataError, match=r"ImageNet_LT_val\.txt cannot be read"):
        dataset(root).split("val")


def test_a_second_long_tail_is_refused():
    with pytest.raises(ConfigError, match="the lists are long-tailed already"):
        parse({"imbalance": "step"}, Config, "datasets.imagenet_lt")


def test_a_thousand_classes_have_numbers():
    assert Dataset(Config()).class_names[:2] == ("0000", "0001")
    assert len(Dataset(Config()).class_names) == 1000
