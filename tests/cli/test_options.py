"""Paths to write to are looked at before anything is read or computed."""

import pytest

FILES = [
    ["score", "--store", "none.zarr", "--method", "knn", "--out"],
    ["export-detector", "--store", "none.zarr", "--method", "knn", "--out"],
    ["evaluate", "--scores", "none.zarr", "--out"],
    ["report", "--scores", "none.zarr", "--out"],
    ["export", "none.zarr", "--split", "train", "--out"],
    ["import", "none", "--store"],
    ["visualise", "--store", "none.zarr", "--out"],
    ["predict", "none.safetensors", "none.png", "--out"],
    ["data", "few-shot", "folder", "--out"],
]
FOLDERS = [
    ["compare", "--store", "none.zarr", "--out"],
    ["sweep", "knn", "--grid", "k=1,2", "--store", "none.zarr", "--out"],
    ["evaluate", "--scores", "none.zarr", "--out", "m.json", "--plots"],
]


@pytest.mark.parametrize("command", FILES + FOLDERS, ids=lambda words: " ".join(words))
@pytest.mark.parametrize("path", ["", ".", "/", ".."])
def test_a_path_without_a_name_is_refused(ltood, command, path):
    said = ltood(*command, path, code=1).stderr
    assert said.startswith(f"error: {command[-1]} is ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", FOLDERS, ids=lambda words: " ".join(words))
def test_a_file_in_the_way_of_a_folder_is_named(ltood, command, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        said = ltood(*command, out, code=1).stderr
        assert said.startswith(f"error: {command[-1]} is {out}, but {tmp_path / 'file'} is a file")
