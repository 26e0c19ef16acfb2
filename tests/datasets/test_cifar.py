import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.datasets._cifar_files import PIXEL_BYTES, CifarFiles

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
        DataError,
        match=r"cannot read .*b: .*download two`.*some\.address \(MD5 abc\).*two\.root",
    ):
        FILES.read(tmp_path, "train")


@pytest.mark.parametrize("size", [0, 100, 4 * 3074 - 1, 4 * 3074 + 1])
def test_a_file_of_another_size_is_refused(tmp_path, records, size):
    (tmp_path / "b").write_bytes(b"\0" * size)
    with pytest.raises(DataError, match=rf"b has {size} bytes, .* 12296: .*Run `ltood data"):
        FILES.read(tmp_path, "train")


@pytest.mark.parametrize(("label", "sentence"), [(0, "5 images of class 0"), (9, "3 images of")])
def test_labels_that_the_official_files_cannot_hold_are_refused(tmp_path, records, label, sentence):
    records[5, 1] = label
    records[4:].tofile(tmp_path / "b")
    with pytest.raises(DataError, match=rf"{sentence}.* in a, b; the official files have 4 of"):
        FILES.read(tmp_path, "train")
