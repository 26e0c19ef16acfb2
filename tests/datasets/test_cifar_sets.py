"""What both CIFAR sets do alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.datasets import CIFAR10, CIFAR100, cifar10, cifar100
from ltood.datasets._cifar_files import CifarFiles


@dataclass(frozen=True)
class Case:
    module: Any
    files: CifarFiles
    section: str
    archive: str
    first_counts: tuple[int, ...]
    last_count: int

    @property
    def classes(self):
        return self.files.num_classes

    def dataset(self, folder, **settings):
        config = parse({"root": str(folder), **settings}, self.module.Config, self.section)
        return self.module.Dataset(config)


CASES = (
    Case(
        cifar10,
        CIFAR10,
        "datasets.cifar10",
        "cifar-10-binary",
        (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50),
        50,
    ),
    Case(
        cifar100,
        CIFAR100,
        "datasets.cifar100",
        "cifar-100-binary",
        (500, 477, 455, 434, 415, 396, 378, 361, 344, 328),
        5,
    ),
)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.section)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    """Files of the official size, black but for the first pixel; holes take no disk."""
    root = tmp_path_factory.mktemp("cifar")
    files = case.files
    sizes = [(name, files.rows_per_file) for name in files.train] + [(files.test, 10_000)]
    for name, rows in sizes:
        shape = (rows, files.label_bytes + 3072)
        records = np.memmap(root / name, np.uint8, "w+", shape=shape)
        records[:, files.label_bytes - 1] = np.arange(rows) % files.num_classes
        records[:3, files.label_bytes] = (7, 8, 9)
        records.flush()
    np.savez(root / "art.npz", images=np.ones((5, 32, 32, 3), np.uint8), labels=np.arange(5))
    np.savez(root / "grey.npz", images=np.full((2, 28, 28), 9, np.uint8))
    return root


def test_the_long_tail_has_the_published_counts(case, folder):
    train = case.dataset(folder).split("train")
    counts = np.bincount(train.labels)
    assert tuple(counts[:10]) == case.first_counts
    assert (len(counts), counts[-1]) == (case.classes, case.last_count)
    assert train.images.shape[1:] == (32, 32, 3)
    assert train.images[:3, 0, 0].tolist() == [[7, 0, 0], [8, 0, 0], [9, 0, 0]]
    last = train.ids[train.labels == case.classes - 1]
    assert last.tolist() == list(range(case.classes - 1, case.classes * len(last), case.classes))


def test_the_test_split_stays_whole(case, folder):
    test = case.dataset(folder).split("test")
    assert np.bincount(test.labels).tolist() == [10_000 // case.classes] * case.classes


def test_the_profile_is_a_setting(case, folder):
    train = case.dataset(folder, imbalance="step", imbalance_ratio=0.1).split("train")
    half, most = case.classes // 2, 50_000 // case.classes
    assert np.bincount(train.labels).tolist() == [most] * half + [most // 10] * half


def test_outliers_come_from_elsewhere_and_are_outside_the_classes(case, folder):
    archive = str(folder / "art.npz")
    data = case.dataset(folder, ood=[f"art={archive}"], aux=archive)
    assert data.splits() == ("train", "test", "aux", "ood_art")
    assert data.split("ood_art").labels.tolist() == [-1] * 5
    assert len(data.split("aux")) == 5


def test_outliers_of_another_shape_are_brought_to_it(case, folder, capsys):
    data = case.dataset(folder, ood=[f"grey={folder / 'grey.npz'}"])
    images = data.split("ood_grey").images
    assert images.shape == (2, 32, 32, 3)
    assert (images == 9).all()
    assert "images of [28, 28, 1] are resized to [32, 32, 3]" in capsys.readouterr().err


def test_class_names_are_distinct(case):
    names = case.module.CLASS_NAMES
    assert len(set(names)) == case.classes
    assert case.module.Dataset(case.module.Config()).class_names == names


def test_a_missing_folder_says_what_to_download(case, tmp_path):
    match = rf"cannot read .*{case.archive}\.tar\.gz \(MD5 [0-9a-f]{{32}}\).*{case.section}\.root"
    with pytest.raises(DataError, match=match):
        case.dataset(tmp_path).split("train")


def test_an_unknown_split_is_refused(case, folder):
    with pytest.raises(DataError, match="has no split 'ood_art'; it has train, test"):
        case.dataset(folder).split("ood_art")


def test_a_ratio_that_empties_a_class_is_refused(case, folder):
    with pytest.raises(ConfigError, match=r"leaves class .* without images"):
        case.dataset(folder, imbalance_ratio=1e-5).split("train")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"root": ""}, "root is empty"),
        ({"imbalance_ratio": 2}, r"imbalance_ratio is 2"),
        ({"imbalance": "linear"}, "imbalance is 'linear'"),
        ({"ood": ["svhn.npz"]}, r"ood holds 'svhn\.npz'"),
        ({"aux": ""}, "aux is empty"),
    ],
)
def test_bad_settings_are_refused(case, settings, sentence):
    with pytest.raises(ConfigError, match=rf"{case.section}\.{sentence}"):
        parse(settings, case.module.Config, case.section)
