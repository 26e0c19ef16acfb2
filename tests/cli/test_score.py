import numpy as np
import pytest
import zarr


def test_every_row_gets_a_score_and_a_prediction(scores):
    group = zarr.open_group(str(scores), mode="r")
    assert sorted(group.group_keys()) == ["aux", "ood_far", "ood_near", "test", "train", "val"]
    for name, rows in (("train", 100), ("test", 60), ("ood_far", 50)):
        assert group[f"{name}/scores"].shape == (rows,)
        assert group[f"{name}/scores"].dtype == np.float32
        assert group[f"{name}/predictions"].dtype == np.int64


@pytest.fixture
def three_slots(ltood, store, tmp_path):
    path = tmp_path / "scores.zarr"
    arguments = ["--store", store, "--out", path, "--method", "himplos"]
    arguments += ["--set", "percentile=60", "--set", "clip=1.6", "--calibrator", "patt"]
    arguments += ["--normaliser", "imood", "--normaliser-set", "scale=0.5", "--split", "test"]
    ltood("score", *arguments)
    return path


def test_settings_reach_their_slots(three_slots):
    attributes = zarr.open_group(str(three_slots), mode="r").attrs["ltood"]
    assert attributes["method"]["settings"]["percentile"] == 60
    assert attributes["method"]["settings"]["clip"] == 1.6
    assert attributes["calibrator"]["name"] == "patt"
    assert attributes["normaliser"]["settings"]["scale"] == 0.5
    assert attributes["direction"] == "higher means more OOD"


def test_only_the_named_split_is_scored(three_slots):
    assert list(zarr.open_group(str(three_slots), mode="r").group_keys()) == ["test"]


def test_nothing_is_left_next_to_the_scores(three_slots):
    assert list(three_slots.parent.iterdir()) == [three_slots]


def test_published_settings_are_a_start(ltood, store, tmp_path):
    path = tmp_path / "scores.zarr"
    arguments = ["score", "--store", store, "--method", "himplos", "--out", path]
    ltood(*arguments, "--published", "cifar10-densenet", "--set", "percentile=30")
    settings = zarr.open_group(str(path), mode="r").attrs["ltood"]["method"]["settings"]
    assert (settings["clip"], settings["percentile"]) == (1.6, 30.0)


def test_existing_scores_are_kept(ltood, store, scores):
    before = (scores / "zarr.json").read_bytes()
    arguments = ("score", "--store", store, "--method", "msp", "--out", scores)
    assert "--overwrite" in ltood(*arguments, code=1).stderr
    assert (scores / "zarr.json").read_bytes() == before


def test_existing_scores_are_replaced_on_demand(ltood, store, tmp_path):
    path = tmp_path / "scores.zarr"
    for method in ("msp", "energy"):
        ltood("score", "--store", store, "--method", method, "--out", path, "--overwrite")
        attributes = zarr.open_group(str(path), mode="r").attrs["ltood"]
        assert attributes["method"]["name"] == method


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "enrgy"], ["'enrgy'", "energy"]),
        (["--method", "energy", "--calibrator", "pat"], ["'pat'", "patt"]),
        (["--method", "energy", "--normaliser", "imod"], ["'imod'", "imood"]),
        (["--method", "react", "--published", "cifar"], ["'cifar'"]),
        (["--method", "energy", "--set", "temp=1"], ["methods.energy", "'temp'"]),
        (["--method", "energy", "--set", "temperature=0"], ["methods.energy.temperature"]),
        (["--method", "energy", "--set", "temperature"], ["--set", "KEY=VALUE"]),
        (["--method", "react", "--set", "clip="], ["--set clip", "clip=null"]),
        (["--method", "energy", "--calibrator-set", "a"], ["--calibrator-set"]),
        (["--method", "energy", "--normaliser-set", "a"], ["--normaliser-set"]),
        (["--method", "energy", "--split", "nope"], ["'nope'", "train"]),
        (["--method", "energy", "--device", "tpu"], ["device"]),
        (["--method", "knn", "--set", "k=1000"], ["1000"]),
    ],
)
def test_mistakes_end_in_one_line(ltood, store, tmp_path, arguments, words):
    said = ltood("score", "--store", store, "--out", tmp_path / "s.zarr", *arguments, code=1).stderr
    assert all(word in said for word in words), said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
