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


def test_rows_as_parquet(ltood, store, scores, tmp_path):
    out = tmp_path / "rows.parquet"
    shown = ltood("export", scores, store, "--out", out, "--split", "test", "--split", "ood_far")
    assert "110 rows, split, id, path, label, class, prediction, score, verdict" in shown.stdout
    ltood("export", scores, "--out", tmp_path / "rows", "--format", "parquet")
    assert (tmp_path / "rows").stat().st_size > 0


def test_rows_for_fiftyone(ltood, scores, tmp_path):
    (tmp_path / "test.txt").write_text("".join(f"{row}.png\n" for row in range(60)))
    out = tmp_path / "fo"
    words = ("export", scores, "--split", "test", "--format", "fiftyone", "--out", out)
    assert "--images" in ltood(*words, code=1).stderr
    assert "60 images of test" in ltood(*words, "--paths", tmp_path).stdout
    assert "--overwrite" in ltood(*words, "--paths", tmp_path, code=1).stderr
    ltood(*words, "--paths", tmp_path, "--overwrite")
    assert "--paths" in ltood(*words, "--paths", "a", "--images", "b", code=1).stderr


def test_an_archive_is_one_split_of_one_store(ltood, store, scores, tmp_path):
    out = ("--out", tmp_path / "a.npz")
    for words in (
        (store, *out),
        (store, "--split", "test", "--split", "val", *out),
        (store, scores, "--split", "test", *out),
    ):
        assert "--split" in ltood("export", *words, code=1).stderr
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--threshold", "0"),
        ("--tpr", "0.9"),
        ("--threshold-split", "val"),
        ("--images", "a"),
        ("--paths", "a"),
        ("--overwrite",),
    ],
)
def test_an_archive_refuses_what_it_does_not_heed(ltood, store, tmp_path, option):
    words = ("export", store, "--split", "test", "--out", tmp_path / "a.npz", *option)
    assert option[0] in ltood(*words, code=1).stderr
    assert not (tmp_path / "a.npz").exists()
