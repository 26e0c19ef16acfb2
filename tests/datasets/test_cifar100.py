import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.core.params import parse
from ltood.datasets.cifar100 import CLASS_NAMES, Config, Dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of the official size, black but for the first pixel; holes take no disk."""
    root = tmp_path_factory.mktemp("cifar")
    for name, rows in (*((file, 50_000) for file in ("train.bin",)), ("test.bin", 10_000)):
        records = np.memmap(root / name, np.uint8, "w+", shape=(rows, 2 + 3072))
        records[:, 2 - 1] = np.arange(rows) % 100
        records[:3, 2] = (7, 8, 9)
        records.flush()
    np.savez(root / "art.npz", images=np.ones((5, 32, 32, 3), np.uint8), labels=np.arange(5))
    return root


def dataset(folder, **settings):
    return Dataset(parse({"root": str(folder), **settings}, Config, "datasets.cifar100"))


def test_the_long_tail_has_the_published_counts(folder):
    train = dataset(folder).split("train")
    counts = np.bincount(train.labels)
    assert counts[:10].tolist() == [500, 477, 455, 434, 415, 396, 378, 361, 344, 328]
    assert (len(counts), counts[-1]) == (100, 5)
    assert train.images.shape[1:] == (32, 32, 3)
    assert train.images[:3, 0, 0].tolist() == [[7, 0, 0], [8, 0, 0], [9, 0, 0]]
    last = train.ids[train.labels == 100 - 1]
    assert last.tolist() == list(range(100 - 1, 100 * len(last), 100))


def test_the_test_split_stays_whole(folder):
    test = dataset(folder).split("test")
    assert np.bincount(test.labels).tolist() == [100] * 100


def test_the_profile_is_a_setting(folder):
    train = dataset(folder, imbalance="step", imbalance_ratio=0.1).split("train")
    assert np.bincount(train.labels).tolist() == [500] * 50 + [50] * 50


def test_outliers_come_from_archives_and_are_outside_the_classes(folder):
    archive = str(folder / "art.npz")
    data = dataset(folder, ood=[f"art={archive}"], aux=archive)
    assert data.splits() == ("train", "test", "aux", "ood_art")
    assert data.split("ood_art").labels.tolist() == [-1] * 5
    assert len(data.split("aux")) == 5


def test_class_names_are_distinct():
    assert len(set(CLASS_NAMES)) == 100
    assert Dataset(Config()).class_names == CLASS_NAMES


def test_a_missing_folder_says_what_to_download(tmp_path):
    with pytest.raises(
        DataError,
        match=r"cannot read .*cifar-100-binary\.tar\.gz \(MD5 [0-9a-f]{32}\).*cifar100\.root",
    ):
        dataset(tmp_path).split("train")


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(DataError, match="CIFAR-100 has no split 'ood_art'; it has train, test"):
        dataset(folder).split("ood_art")


def test_a_ratio_that_empties_a_class_is_refused(folder):
    with pytest.raises(ConfigError, match=r"leaves class .* without images"):
        dataset(folder, imbalance_ratio=1e-5).split("train")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"root": ""}, r"datasets\.cifar100\.root is empty"),
        ({"imbalance_ratio": 2}, r"datasets\.cifar100\.imbalance_ratio is 2\.0"),
        ({"imbalance": "linear"}, r"datasets\.cifar100\.imbalance is 'linear'"),
        ({"ood": ["svhn.npz"]}, r"datasets\.cifar100\.ood holds 'svhn\.npz'"),
        ({"aux": ""}, r"datasets\.cifar100\.aux is empty"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "datasets.cifar100")
