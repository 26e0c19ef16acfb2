import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.images.archives import read_archive
from ltood.images.arrays import ImageSplit
from ltood.images.longtail import cut_long_tail


def archive(folder, **changes):
    arrays = {"images": np.full((3, 4, 5, 3), 7, np.uint8), "labels": np.arange(3)} | changes
    path = folder / "some.npz"
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_images_labels_and_ids_are_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    path = archive(tmp_path, images=images, labels=np.uint8([2, 0, 1]), ids=np.int32([9, 4, 6]))
    split = read_archive(path, outliers=False)
    np.testing.assert_array_equal(split.images, images)
    assert split.labels.tolist() == [2, 0, 1]
    assert split.ids.tolist() == [9, 4, 6]


def test_grey_images_get_a_channel_axis_and_ids_count_rows(tmp_path):
    split = read_archive(archive(tmp_path, images=np.zeros((3, 4, 5), np.uint8)), outliers=False)
    assert split.images.shape == (3, 4, 5, 1)
    assert split.ids.tolist() == [0, 1, 2]


def test_labels_of_other_classes_never_make_an_outlier_an_id_row(tmp_path):
    assert read_archive(archive(tmp_path), outliers=True).labels.tolist() == [-1] * 3
    marked = archive(tmp_path, id_labels=np.array([-1, 2, -1]))
    assert read_archive(marked, outliers=True).labels.tolist() == [-1, 2, -1]
    assert read_archive(marked, outliers=False).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": None}, r"some\.npz holds no array 'images'"),
        ({"labels": None}, r"holds no array 'labels'; ID splits need the class"),
        ({"labels": np.zeros(3)}, r"some\.npz: labels are float64; they must be whole numbers"),
        ({"labels": np.zeros(3, np.uint64)}, "labels are uint64; .* fit int64"),
        ({"ids": np.array(["a", "b", "c"])}, r"ids are <U1; they must be whole numbers"),
        ({"labels": np.arange(2)}, r"labels have shape \[2\] but there are 3 images"),
        ({"images": np.zeros((3, 4, 5, 3))}, r"some\.npz: images are float64; they must be uint8"),
        ({"images": np.zeros((3, 4), np.uint8)}, r"shape \[3, 4\]; it must be \[N, H, W, C\]"),
        ({"images": np.uint8(3)}, r"shape \[\]; it must be \[N, H, W, C\]"),
        ({"labels": np.array([0, -2, 0])}, r"labels\[1\] is -2"),
        ({"labels": np.array([object()] * 3)}, "of plain arrays .*allow_pickle=False"),
    ],
)
def test_bad_archives_are_refused_by_name(tmp_path, changes, sentence):
    path = archive(tmp_path, **changes)
    with pytest.raises(DataError, match=sentence):
        read_archive(path, outliers=False)


@pytest.mark.parametrize("length", [0, 10, 200, -30])
def test_a_truncated_archive_is_refused(tmp_path, length):
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"some\.npz cannot be read as an \.npz archive"):
        read_archive(path, outliers=False)


def test_a_single_array_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"cannot be read as an \.npz archive"):
        read_archive(path, outliers=False)


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.npz"):
        read_archive(tmp_path / "nowhere.npz", outliers=True)


def balanced():
    labels = np.tile(np.arange(2), 10)
    return ImageSplit(np.zeros((20, 2, 2, 1), np.uint8), labels, np.arange(20))


def test_the_first_rows_of_each_class_are_kept():
    tail = cut_long_tail(balanced(), 2, ratio=0.2, profile="exponential")
    assert tail.ids[tail.labels == 0].tolist() == list(range(0, 20, 2))
    assert tail.ids[tail.labels == 1].tolist() == [1, 3]
    assert cut_long_tail(balanced(), 2, ratio=0.2, profile="none").ids.tolist() == list(range(20))


def test_the_largest_class_can_be_given():
    tail = cut_long_tail(balanced(), 2, ratio=0.5, profile="step", num_max=4)
    assert np.bincount(tail.labels).tolist() == [4, 2]
    with pytest.raises(DataError, match=r"class 0 has 10 images .* 11"):
        cut_long_tail(balanced(), 2, ratio=0.5, profile="step", num_max=11)


def test_a_ratio_that_empties_a_class_is_refused():
    with pytest.raises(ConfigError, match="leaves class 1 without images"):
        cut_long_tail(balanced(), 2, ratio=0.05, profile="exponential")
    names = {"class_names": ("cat", "dog")}
    with pytest.raises(ConfigError, match=r"class 1 \(dog\)"):
        cut_long_tail(balanced(), 2, ratio=0.05, profile="exponential", **names)
    with pytest.raises(DataError, match=r"class 0 \(cat\)"):
        cut_long_tail(balanced(), 2, ratio=0.5, profile="step", num_max=11, **names)
