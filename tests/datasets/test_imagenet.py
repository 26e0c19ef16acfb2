import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import DataError
from ltood.core.settings import parse
from ltood.datasets import imagenet
from ltood.datasets.imagenet import Config, Dataset


def dataset(root, **settings):
    return Dataset(parse({"root": str(root), **settings}, Config, "datasets.imagenet"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet, "NUM_CLASSES", 3)
    for split, num in (("train", 4), ("val", 2)):
        for wnid in ("n03", "n01", "n02"):
            for row in range(num):
                path = tmp_path / split / wnid / f"{row}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return tmp_path


def test_classes_are_the_sorted_ids_and_val_is_the_test(root, capsys):
    data = dataset(root)
    assert data.class_names == ("n01", "n02", "n03")
    assert data.splits() == ("train", "test")
    test = data.split("test")
    assert test.root == root / "val"
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    assert "has 6 images; the published set has 50,000" in capsys.readouterr().err


def test_few_shots(root):
    assert np.bincount(dataset(root, shots=1).split("train").labels).tolist() == [1, 1, 1]


def test_images_that_were_not_sorted_are_refused(root):
    imagenet.NUM_CLASSES = 1000
    with pytest.raises(DataError, match=r"holds 3 folders, .* 1000 classes"):
        _ = dataset(root).class_names


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="put ImageNet's validation images there"):
        _ = dataset(tmp_path).class_names


def test_training_folders_of_other_classes_are_refused(root):
    (root / "train" / "n01").rename(root / "train" / "n99")
    with pytest.raises(DataError, match="'n99'"):
        dataset(root).split("train")
