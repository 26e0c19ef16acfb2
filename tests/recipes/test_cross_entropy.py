import numpy as np
import torch

from ltood.core.prior import ClassPrior
from ltood.recipes.cross_entropy import Config, Entry
from recipes.test_contract import build, make_batch


def test_it_is_the_mean_negative_log_probability_of_the_label():
    recipe, backbone = build("cross_entropy")
    backbone.eval()
    batch = make_batch(recipe, backbone)
    logits = backbone(batch.images).logits.double()
    chosen = torch.log_softmax(logits, dim=1)[torch.arange(6), batch.labels]
    (term,) = recipe.losses(batch).values()
    torch.testing.assert_close(term.double(), -chosen.mean(), rtol=1e-5, atol=1e-6)


def test_it_carries_nothing_along():
    recipe = Entry(Config(), ClassPrior(np.array([3, 0])))
    assert not recipe.state_dict()
    assert (recipe.num_views, recipe.aux_per_image, recipe.num_aux_outputs) == (1, 0, 0)
