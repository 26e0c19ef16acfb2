import numpy as np
import pytest


def test_import_counts_what_it_took(ltood, folder, tmp_path):
    shown = ltood("import", folder, "--store", tmp_path / "f.zarr").stdout
    assert "100 rows x 8 features" in shown
    assert "3 classes" in shown


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_comes_back_as_it_was(ltood, store, folder, tmp_path, split):
    ltood("export", store, "--split", split, "--out", tmp_path / "back.npz")
    with np.load(tmp_path / "back.npz") as back, np.load(folder / f"{split}.npz") as given:
        np.testing.assert_array_equal(back["features"], given["features"])
        np.testing.assert_array_equal(back["labels"], given["labels"])


def test_the_head_comes_back(ltood, store, tmp_path):
    ltood("export", store, "--split", "head", "--out", tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as back:
        assert back["class_counts"].tolist() == [60, 30, 10]
