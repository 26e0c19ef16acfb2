"""The published settings train: a few steps of each kind of run, on tiny images and networks."""

import csv
import math

import pytest
from image_samples import TinyImages, make_plan, train_tiny

from ltood.runtime.params import parse_params
from ltood.tables.settings import complete, text_of

#: Beside the images' number of classes, only what makes a run small is changed.
SMALL = {"epochs": 1, "batch_size": 8, "checkpoint_minutes": 60.0}
RUNS = (
    "cocl-cifar10-lt",
    "eat-cifar10-lt",
    "energy-oe-cifar10-lt",
    "imood-cocl-imagenet-lt",
    "imood-maha-cifar10-lt",
    "imood-pascl-imagenet-lt",
    "pascl-cifar10-lt",
    "patt-cifar10-lt",
    "patt-imagenet-lt",
)


def plan_of(name, tmp_path, **changed):
    content = parse_params(text_of(name), tmp_path)
    content.pop("source")
    settings, recipe = complete(content), content["recipe"]
    backbone = next(iter(settings["backbones"].values()))
    scaling = {"variant": "small", "mean": backbone["mean"], "std": backbone["std"]}
    training = {**settings["training"], **SMALL, **changed}
    return make_plan(
        recipe=recipe, recipe_settings=settings["recipes"][recipe], backbone=scaling, **training
    )


def history(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.mark.parametrize("name", RUNS)
def test_published_settings_train(name, tmp_path):
    train_tiny(tmp_path / "out", plan_of(name, tmp_path), TinyImages(channels=3))
    [row] = history(tmp_path / "out")
    assert math.isfinite(float(row["loss"]))


def test_the_second_stage_goes_on_from_the_first(tmp_path):
    images = TinyImages(channels=3)
    train_tiny(tmp_path / "first", plan_of("pascl-imagenet-lt", tmp_path), images)
    weights = str(tmp_path / "first")
    plan = plan_of("pascl-stage2-imagenet-lt", tmp_path, weights=weights)
    train_tiny(tmp_path / "second", plan, images)
    assert math.isfinite(float(history(tmp_path / "second")[0]["cross_entropy"]))
