import math

import numpy as np
import pytest
import torch
from outlier_samples import GoldenStep

from ltood.core.errors import ConfigError, DataError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.recipes.eat_finetune import Config, Entry


def finetuned(counts, **settings):
    step = GoldenStep(2)
    step.backbone.linear_head = step.backbone.head
    recipe = Entry(Config(outlier_classes=2, **settings), ClassPrior(counts))
    recipe.attach(step.backbone)
    recipe.double()
    return step, recipe


@pytest.mark.parametrize("images", [10_000, 5, None])
def test_the_second_stage_adjusts_every_head(images):
    counts = np.array([50, 40, 30, 20, 10, 5, 1])
    step, recipe = finetuned(counts, outlier_images=images)
    full = counts if images is None else np.append(counts, [images] * 2)
    shift = torch.tensor(np.log(full / full.sum()))
    expected = 0.0
    for layer in (step.backbone.head, *recipe.experts.others):
        rows = layer(step.batch.images.flatten(1))[:, : len(full)] + shift
        expected += torch.nn.functional.cross_entropy(rows, step.batch.labels).item()
    found = recipe.losses(step.batch)["cross_entropy"].item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_second_stage_wants_the_heads_of_the_first():
    _, recipe = finetuned(np.arange(7, 0, -1))
    with pytest.raises(DataError, match="recipe eat"):
        recipe.start_from({})
    wrong = {
        "expert_weight": np.zeros((2, 9, 64), np.float32),
        "expert_bias": np.zeros((2, 9), np.float32),
    }
    with pytest.raises(DataError, match="2 x 9 x 64"):
        recipe.start_from(wrong)


def test_batch_norms_follow_the_images_only_as_the_official_code_does():
    modes = {}
    for switch in (False, True):
        _, recipe = finetuned(np.arange(7, 0, -1), official_norms=switch)
        net = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout())
        recipe.set_modes(net)
        modes[switch] = [module.training for module in net]
    assert modes == {False: [False, False], True: [True, False]}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"outlier_classes": 0}, r"eat_finetune\.outlier_classes"),
        ({"experts": 0}, r"eat_finetune\.experts"),
        ({"tau": math.nan}, r"eat_finetune\.tau"),
        ({"outlier_images": 0}, r"eat_finetune\.outlier_images"),
    ],
)
def test_bad_settings_are_named(settings, key):
    with pytest.raises(ConfigError, match=key):
        parse(settings, Config, "recipes.eat_finetune")


def test_without_adjustment_empty_classes_are_allowed():
    counts = ClassPrior(np.array([3, 0, 1]))
    assert not Entry(Config(tau=0.0), counts).shift.any()
    with pytest.raises(DataError, match=r"classes \[1\]"):
        Entry(Config(), counts)
