from pathlib import Path

import numpy as np
import pytest

from ltood.core.cifar_records import PIXEL_BYTES, CifarFiles, outlier_paths, read_outliers
from ltood.core.errors import ConfigError, DataError

FILES = CifarFiles("CIFAR-2", "datasets.two.root", "some.address", "abc", ("a", "b"), "c", 4, 2, 2)


@pytest.fixture
def records(tmp_path):
    """Two files of four records with a coarse and a fine label each."""
    records = np.random.default_rng(0).integers(0, 256, (8, 2 + PIXEL_BYTES), np.uint8)
    records[:, 1] = np.arange(8) % 2
    records[:4].tofile(tmp_path / "a")
    records[4:].tofile(tmp_path / "b")
    return records


def test_every_byte_of_a_record_goes_to_its_place(tmp_path, records):
    split = FILES.read(tmp_path, "train")
    assert split.images.shape == (8, 32, 32, 3)
    assert split.labels.tolist() == [0, 1] * 4
    assert split.ids.tolist() == list(range(8))
    for row in (0, 3, 4, 7):
        for height, width, channel in ((0, 0, 0), (0, 31, 1), (5, 9, 2), (31, 0, 2)):
            byte = records[row, 2 + 1024 * channel + 32 * height + width]
            assert split.images[row, height, width, channel] == byte


def test_a_missing_file_says_where_to_get_it(tmp_path, records):
    (tmp_path / "b").unlink()
    with pytest.raises(
        DataError, match=r"cannot read .*b: No such file.*some\.address \(MD5 abc\).*two\.root"
    ):
        FILES.read(tmp_path, "train")


@pytest.mark.parametrize("size", [0, 100, 4 * 3074 - 1, 4 * 3074 + 1])
def test_a_file_of_another_size_is_refused(tmp_path, records, size):
    (tmp_path / "b").write_bytes(b"\0" * size)
    with pytest.raises(DataError, match=rf"b has {size} bytes, the official file 12296: .*Downl"):
        FILES.read(tmp_path, "train")


@pytest.mark.parametrize(("label", "sentence"), [(0, "5 images of class 0"), (9, "3 images of")])
def test_labels_that_the_official_files_cannot_hold_are_refused(tmp_path, records, label, sentence):
    records[5, 1] = label
    records[4:].tofile(tmp_path / "b")
    with pytest.raises(DataError, match=rf"{sentence}.* in a, b; the official files have 4 of"):
        FILES.read(tmp_path, "train")


def test_outliers_are_named_in_their_order():
    paths = outlier_paths(["svhn=x/y=z.npz", "art=a.npz"], "aux.npz", "datasets.two")
    assert paths == {
        "aux": Path("aux.npz"),
        "ood_svhn": Path("x/y=z.npz"),
        "ood_art": Path("a.npz"),
    }
    assert outlier_paths([], None, "datasets.two") == {}


@pytest.mark.parametrize(
    ("ood", "aux", "sentence"),
    [
        (["a.npz"], None, r"datasets\.two\.ood holds 'a\.npz'; each item is a name"),
        (["=a.npz"], None, r"ood holds '=a\.npz'"),
        (["a="], None, r"ood holds 'a='"),
        (["a=b", "a=c"], None, r"datasets\.two\.ood names 'a' twice"),
        ([], "", r"datasets\.two\.aux is empty"),
    ],
)
def test_bad_lists_of_outliers_are_refused(ood, aux, sentence):
    with pytest.raises(ConfigError, match=sentence):
        outlier_paths(ood, aux, "datasets.two")


def test_outliers_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "grey.npz"
    np.savez(path, images=np.zeros((2, 32, 32), np.uint8))
    with pytest.raises(DataError, match=r"grey\.npz holds images of shape \[32, 32, 1\], CIFAR"):
        read_outliers(path)
