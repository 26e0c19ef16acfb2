from pathlib import Path

import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.core.settings import parse
from ltood.datasets import npz
from ltood.datasets.npz import Config, Dataset
from ltood.images.archives import read_archive
from ltood.images.prepared import open_prepared
from ltood.preparing.prepare import prepare

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"


@pytest.fixture
def folder(tmp_path):
    """Ten training images of each of three classes, and small other splits."""
    random = np.random.default_rng(0)

    def write(name, rows, **arrays):
        images = random.integers(0, 256, (rows, 6, 7, 3), np.uint8)
        np.savez_compressed(tmp_path / f"{name}.npz", images=images, **arrays)

    write("train", 30, labels=np.tile(np.arange(3), 10))
    write("test", 6, labels=np.tile(np.arange(3), 2))
    write("ood_digits", 4, labels=np.arange(4) % 3)
    write("ood_art", 2)
    write("aux", 5)
    (tmp_path / "names.txt").write_text("cat\nsea lion\nyak\n", encoding="utf-8")
    return tmp_path


def dataset(folder, **settings):
    return Dataset(parse({"root": str(folder), **settings}, Config, "datasets.npz"))


def test_splits_are_the_archives_in_a_fixed_order(folder):
    assert dataset(folder).splits() == ("train", "test", "aux", "ood_art", "ood_digits")


def test_class_names_come_from_the_file_or_count_up(folder):
    assert dataset(folder).class_names == ("0", "1", "2")
    assert dataset(folder, class_names="names.txt").class_names == ("cat", "sea lion", "yak")


def test_only_the_training_split_is_cut(folder):
    data = dataset(folder, imbalance="exponential", imbalance_ratio=0.1)
    assert np.bincount(data.split("train").labels).tolist() == [10, 3, 1]
    assert len(data.split("test")) == 6
    assert len(dataset(folder).split("train")) == 30
    data = dataset(folder, imbalance="step", imbalance_ratio=0.5, num_max=8)
    assert np.bincount(data.split("train").labels).tolist() == [8, 8, 4]


def test_outliers_are_outside_the_classes_whatever_their_labels(folder):
    for name, rows in (("aux", 5), ("ood_digits", 4), ("ood_art", 2)):
        assert dataset(folder).split(name).labels.tolist() == [-1] * rows


def test_outliers_from_elsewhere_take_the_size_of_the_training_images(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    np.save(elsewhere / "grey.npy", np.full((5, 12, 14), 9, np.uint8))
    (folder / "aux.npz").unlink()
    where = str(elsewhere / "grey.npy")
    data = dataset(folder, ood=[f"grey={where}"], aux=f"{where}#2")
    assert data.splits() == ("train", "test", "ood_art", "ood_digits", "aux", "ood_grey")
    found = data.split("ood_grey")
    assert found.images.shape == (5, 6, 7, 3)
    assert (found.images == 9).all()
    assert len(data.split("aux")) == 2


def test_training_images_are_read_once_for_all_outliers(folder, tmp_path, monkeypatch):
    np.save(tmp_path / "grey.npy", np.full((5, 12, 14), 9, np.uint8))
    read = []

    def counted(path, *, outliers):
        read.append(path.stem)
        return read_archive(path, outliers=outliers)

    monkeypatch.setattr(npz, "read_archive", counted)
    data = dataset(folder, ood=[f"{name}={tmp_path / 'grey.npy'}" for name in "abc"])
    assert len(data.class_names) == 3
    for name in ("ood_a", "ood_b", "ood_c"):
        data.split(name)
    assert read == ["train"]


def test_a_split_cannot_come_from_two_places(folder):
    data = dataset(folder, ood=[f"art={folder / 'aux.npz'}"])
    with pytest.raises(
        ConfigError, match=r"names ood_art at .*aux\.npz', but .* holds ood_art\.npz"
    ):
        data.splits()


def test_the_folder_can_be_prepared(folder, tmp_path):
    data = dataset(folder, class_names="names.txt", imbalance="exponential", imbalance_ratio=0.1)
    prepare(data, "npz", {}, tmp_path / "out")
    prepared = open_prepared(tmp_path / "out")
    prepared.verify()
    assert prepared.class_counts.tolist() == [10, 3, 1]
    np.testing.assert_array_equal(
        prepared.split("ood_art").images, np.load(folder / "ood_art.npz")["images"]
    )


def test_a_stray_archive_is_refused_when_preparing(folder, tmp_path):
    (folder / "train.npz").rename(folder / "training.npz")
    (folder / "names.txt").write_text("a\nb\nc\n")
    with pytest.raises(StoreError, match="training"):
        prepare(dataset(folder, class_names="names.txt"), "npz", {}, tmp_path / "out")


def test_the_demo_folder_has_this_form():
    data = dataset(DEMO)
    assert len(data.class_names) == 8
    assert len(data.split("train")) == 8000
    assert data.splits()[:4] == ("train", "val", "test", "aux")
    assert data.split("ood_clothing").images.shape == (800, 32, 32, 1)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; set datasets\.npz\.root"):
        dataset(tmp_path / "nowhere").splits()


def test_an_unknown_split_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="has no split 'val'; it has train, test, aux, ood_art"):
        dataset(folder).split("val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no split 'train'; it has no archive"):
        dataset(tmp_path / "empty").split("train")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"names\.txt has no class name in line 1"),
        (b"cat\n\nyak\n", r"names\.txt has no class name in line 2"),
        (b"\xff\xfe", r"class names .*names\.txt .* as UTF-8"),
        (None, r"class names .*names\.txt .*missing"),
    ],
)
def test_bad_files_of_class_names_are_refused(folder, content, sentence):
    if content is None:
        (folder / "names.txt").unlink()
    else:
        (folder / "names.txt").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        _ = dataset(folder, class_names="names.txt").class_names


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"root": ""}, r"datasets\.npz\.root is empty"),
        ({"class_names": ""}, r"datasets\.npz\.class_names is empty"),
        ({"imbalance_ratio": 0}, r"datasets\.npz\.imbalance_ratio is 0"),
        ({"imbalance": "linear"}, r"datasets\.npz\.imbalance is 'linear'"),
        ({"aux": ""}, r"datasets\.npz\.aux is empty"),
        ({"ood": ["x.npz"]}, r"datasets\.npz\.ood holds 'x\.npz'"),
        ({"on_error": "hide"}, r"datasets\.npz\.on_error is 'hide'"),
        ({"num_max": 0}, r"datasets\.npz\.num_max is 0"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "datasets.npz")
