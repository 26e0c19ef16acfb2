import dataclasses

import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit


def arrays(rows=3, shape=(4, 5, 1)):
    images = np.arange(rows * int(np.prod(shape)), dtype=np.uint8).reshape(rows, *shape)
    return images, np.arange(rows) - 1, np.arange(rows)


def test_rows_are_taken_in_the_given_order():
    images, labels, ids = arrays()
    part = ImageSplit(images, labels, ids).take(np.array([2, 0]))
    assert len(part) == 2
    np.testing.assert_array_equal(part.images, images[[2, 0]])
    assert part.labels.tolist() == [1, -1]
    assert part.ids.tolist() == [2, 0]


def test_each_image_has_a_path_or_none_has():
    with pytest.raises(DataError, match="2 paths but 3 images"):
        ImageSplit(*arrays(), paths=("a.png", "b.png"))


def test_a_split_cannot_be_changed():
    split = ImageSplit(*arrays())
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.labels = split.ids


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x, y, n: (x.astype(np.float32), y, n), r"images are float32; they must be uint8"),
        (lambda x, y, n: (x[..., 0], y, n), r"shape \[3, 4, 5\]; it must be \[N, H, W, C\]"),
        (lambda x, y, n: (x.repeat(2, axis=3), y, n), r"shape \[3, 4, 5, 2\]; it must be"),
        (lambda x, y, n: (x[:0], y[:0], n[:0]), r"\[0, 4, 5, 1\], which holds no pixel"),
        (lambda x, y, n: (x[:, :0], y, n), r"\[3, 0, 5, 1\], which holds no pixel"),
        (lambda x, y, n: (x, y.astype(np.int32), n), r"labels are int32; they must be int64"),
        (lambda x, y, n: (x, y, n.astype(float)), r"ids are float64; they must be int64"),
        (lambda x, y, n: (x, y[:2], n), r"labels have shape \[2\] but there are 3 images"),
        (lambda x, y, n: (x, y, n[:, None]), r"ids have shape \[3, 1\] but there are 3 images"),
        (lambda x, y, n: (x, y - 1, n), r"labels\[0\] is -2; labels are -1 or more"),
        (lambda x, y, n: (x, y, n - 1), r"ids\[0\] is -1; ids are 0 or more"),
    ],
)
def test_bad_arrays_are_refused(change, sentence):
    with pytest.raises(DataError, match=sentence):
        ImageSplit(*change(*arrays()))
