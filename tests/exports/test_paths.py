import numpy as np
import pytest

from ltood.core.errors import DataError, StoreError
from ltood.exports.paths import ListedPaths, PreparedPaths
from ltood.store.features import FeatureStore


def test_images_are_found_by_their_ids(images, features):
    loaded = FeatureStore.open(features).split("test").load(["ids", "labels"])
    found = PreparedPaths(images).of("test", 0, loaded["ids"])
    for path, number, label in zip(found, loaded["ids"], loaded["labels"], strict=True):
        assert path.startswith("/")
        assert path.endswith(f"/class{label}/{number}.png")


def test_arrays_have_no_path(images):
    assert PreparedPaths(images).of("train", 0, np.array([3, 1])) == [None, None]


@pytest.mark.parametrize(("split", "number"), [("test", 10**6), ("ood_near", 0)])
def test_other_prepared_data(images, split, number):
    with pytest.raises(DataError, match=str(number) if split == "test" else split):
        PreparedPaths(images).of(split, 0, np.array([0, number]))


def test_no_prepared_data(tmp_path):
    with pytest.raises(StoreError):
        PreparedPaths(tmp_path)


def test_lists_go_by_rows(tmp_path):
    (tmp_path / "test.txt").write_text("a.png\nb c.png\n/abs/d.png\n")
    paths = ListedPaths(tmp_path)
    expected = [f"{tmp_path}/b c.png", "/abs/d.png"]
    assert paths.of("test", 1, np.array([5, 6])) == expected
    assert paths.of("test", 1, np.array([5, 6])) == expected
    with pytest.raises(DataError, match="3 lines"):
        paths.of("test", 2, np.array([0, 1]))
    with pytest.raises(DataError, match=r"val\.txt"):
        paths.of("val", 0, np.array([0]))
