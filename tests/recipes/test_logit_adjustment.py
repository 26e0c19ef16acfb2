import math

import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError, DataError, UnknownNameError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.recipes._base import build_recipe
from ltood.recipes.logit_adjustment import Config, Entry
from recipes.test_contract import COUNTS, build, make_batch


def test_it_shifts_the_logits_in_training_only():
    recipe, backbone = build("logit_adjustment")
    backbone.eval()
    batch = make_batch(recipe, backbone)
    logits = backbone(batch.images).logits.double()
    shifted = logits + torch.tensor(COUNTS / COUNTS.sum()).log()
    chosen = torch.log_softmax(shifted, dim=1)[torch.arange(6), batch.labels]
    (term,) = recipe.losses(batch).values()
    torch.testing.assert_close(term.double(), -chosen.mean(), rtol=1e-5, atol=1e-6)
    assert torch.equal(backbone(batch.images).logits.double(), logits)


def test_without_strength_it_is_cross_entropy():
    recipe, backbone = build("logit_adjustment")
    plain, _ = build("cross_entropy")
    backbone.eval()
    weak = Entry(Config(tau=0.0), ClassPrior(COUNTS))
    batch = make_batch(recipe, backbone)
    terms = [one.losses(batch) for one in (weak, plain)]
    torch.testing.assert_close(terms[0]["logit_adjusted"], terms[1]["cross_entropy"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tau": -1.0}, r"recipes\.logit_adjustment\.tau is -1\.0"),
        ({"tau": math.inf}, r"recipes\.logit_adjustment\.tau is inf"),
        ({"temperature": math.nan}, r"recipes\.logit_adjustment\.temperature is nan"),
        ({"temperature": 0.0}, r"recipes\.logit_adjustment\.temperature is 0\.0"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "recipes.logit_adjustment")


def test_a_class_without_images_is_refused():
    with pytest.raises(DataError, match=r"classes \[1\] have no training images"):
        Entry(Config(), ClassPrior(np.array([3, 0])))


def test_unknown_recipes_are_named():
    with pytest.raises(UnknownNameError, match=r"Did you mean logit_adjustment"):
        build_recipe("logit_adjusment", {}, ClassPrior(COUNTS))
