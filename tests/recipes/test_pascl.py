import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.recipes.pascl import Config, Entry


def golden_recipe(step):
    recipe = Entry(Config(tau=1.0, contrast_weight=0.05), step.prior)
    recipe.attach(step.backbone)
    first, _, second = recipe.projection
    with torch.no_grad():
        for layer, name in ((first, "proj0"), (second, "proj2")):
            layer.weight.copy_(torch.tensor(step.arrays[f"{name}_W"]))
            layer.bias.copy_(torch.tensor(step.arrays[f"{name}_b"]))
    return recipe


def tail(counts, **settings):
    return Entry(Config(**settings), ClassPrior(np.array(counts))).is_tail.tolist()


def test_terms_and_gradients_are_the_published_ones():
    step = GoldenStep()
    recipe = golden_recipe(step)
    terms = step.terms(recipe)
    expected = step.arrays["f64_train_oe_pascl_losses"]
    assert terms["cross_entropy"].item() == pytest.approx(expected[0], rel=1e-8)
    assert terms["outlier_exposure"].item() == pytest.approx(0.5 * expected[1], rel=1e-8)
    assert terms["asymmetric_contrast"].item() == pytest.approx(0.05 * expected[2], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(expected[3], rel=1e-8)
    step.assert_gradients(terms, "oe_pascl")
    gradient = torch.tensor(step.arrays["f64_train_oe_pascl_grad_proj0"])
    found = recipe.projection[0].weight.grad
    torch.testing.assert_close(found, gradient, rtol=1e-8, atol=0)


def test_the_tail_is_the_rarest_classes_wherever_they_stand():
    assert tail([3, 50, 9, 20, 4]) == [True, False, False, False, True]
    assert tail([3, 50, 9, 20, 4], official_tail=True) == [False, False, False, True, True]
    assert tail([9, 7, 5, 3, 1]) == tail([9, 7, 5, 3, 1], official_tail=True)
    assert tail([5, 5, 5, 5, 5]) == [False, False, False, True, True]
    assert tail([5, 9, 1], tail_share=1.0) == [True, True, True]


def test_a_batch_without_tail_images_has_no_contrast():
    step = GoldenStep()
    recipe = golden_recipe(step)
    step.batch = replace(step.batch, labels=torch.arange(24) % 4)
    terms = step.terms(recipe)
    assert terms["asymmetric_contrast"].item() == 0
    sum(terms.values()).backward()
    assert all(not weight.grad.any() for weight in recipe.projection.parameters())


def test_a_tiny_net_learns_its_terms(tmp_path):
    # With all classes in the tail every step has a contrast to lower.
    history, store = train_and_extract(tmp_path, "pascl", {"tail_share": 1.0}, epochs=6)
    for term in ("outlier_exposure", "asymmetric_contrast"):
        assert float(history[-1][term]) < float(history[0][term])
    assert store.split("test").num_outputs == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"outlier_weight": -1.0}, r"pascl\.outlier_weight is -1\.0"),
        ({"contrast_weight": math.inf}, r"pascl\.contrast_weight is inf"),
        ({"temperature": 0.0}, r"pascl\.temperature is 0\.0"),
        ({"tail_share": 0.0}, r"pascl\.tail_share is 0\.0"),
        ({"tail_share": 1.5}, r"pascl\.tail_share is 1\.5"),
        ({"dim": 0}, r"pascl\.dim is 0"),
        ({"aux_per_image": 0.0}, r"pascl\.aux_per_image is 0\.0"),
        ({"tau": -1.0}, r"recipes\.pascl\.tau is -1\.0"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "recipes.pascl")


def test_a_tail_without_classes_is_refused():
    with pytest.raises(ConfigError, match=r"tail_share is 0\.1, which leaves none of 3 classes"):
        Entry(Config(tail_share=0.1), ClassPrior(np.array([9, 5, 2])))
