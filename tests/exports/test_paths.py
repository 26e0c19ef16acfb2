import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import DataError, StoreError
from ltood.datasets.folder import Config, Dataset
from ltood.exports.paths import ListedPaths, PreparedPaths
from ltood.preparing.prepare import prepare
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


@pytest.mark.parametrize("size", [None, 4])
def test_prepared_images_have_names_at_any_size(tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    for split, name in itertools.product(("train", "test"), "ab"):
        path = Path("my data", split, name, "0 é.png")
        path.parent.mkdir(parents=True)
        Image.new("RGB", (9, 8), (ord(name), len(split), 0)).save(path)
    settings = {"root": "my data", "size": size}
    prepare(Dataset(Config(**settings)), "folder", settings, tmp_path / "prepared")
    found = PreparedPaths(tmp_path / "prepared").named("train", np.array([1, 0]))
    below = "" if size else "my data/train/"
    assert found == [f"{below}b/0 é.png", f"{below}a/0 é.png"]
