import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import load_golden
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.errors import ConfigError, DataError
from ltood.core.params import parse
from ltood.core.priors import ClassPrior
from ltood.recipes.imood import Config, Entry

TINY = ClassPrior(np.array([24, 12, 6]))


class ImoodStep(GoldenStep):
    """The published step with a gamma layer, w and b, a projection and a full pool."""

    def __init__(self, **settings):
        num_extra = int(settings.get("base", "bin_disc") == "bin_disc")
        super().__init__(num_extra)
        self.arrays = self.arrays | load_golden("imood_training")
        self.recipe = recipe = Entry(Config(**settings), self.prior)
        recipe.attach(self.backbone)
        self.fill(recipe.gamma, "lambda_W", "lambda_b")
        if hasattr(recipe, "score_map"):
            self.fill(recipe.score_map, "aux_w", "aux_b")
        if hasattr(recipe, "projection"):
            first, _, second = recipe.projection
            self.fill(first, "proj0_W", "proj0_b")
            self.fill(second, "proj2_W", "proj2_b")
        if hasattr(recipe, "pool"):
            recipe.pool = full_pool(self.arrays["trainpool_queue"])

    def fill(self, layer, weight, bias):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(self.arrays[weight]))
            layer.bias.copy_(torch.tensor(self.arrays[bias]))

    def terms(self, recipe=None):
        recipe = recipe or self.recipe
        log_prior = torch.tensor(recipe.config.tau * self.prior.log())
        recipe.log_prior = log_prior.log_softmax(dim=0)
        return super().terms(recipe)


def full_pool(queue):
    from ltood.ops.class_pool import ClassPool

    num_classes, rows, dim = queue.shape
    pool = ClassPool([rows] * num_classes, dim)
    labels = torch.arange(num_classes).repeat_interleave(rows)
    pool.update(torch.tensor(queue).flatten(0, 1), labels)
    return pool


@pytest.mark.parametrize("base", ["bin_disc", "energy", "oe", "maha"])
def test_terms_and_gradients_are_the_published_ones(base):
    step = ImoodStep(base=base)
    terms = step.terms()
    name = f"ada_{base}_none"
    losses, parts = (step.arrays[f"f64_train_{name}_{kind}"] for kind in ("losses", "parts"))
    assert terms["cross_entropy"].item() == pytest.approx(losses[0], rel=1e-8)
    assert terms["gamma"].item() == pytest.approx(0.5 * parts[0], rel=1e-8)
    assert terms["discrimination"].item() == pytest.approx(0.5 * parts[1], rel=1e-8)
    if base == "oe":
        assert terms["outlier_exposure"].item() == pytest.approx(0.5 * parts[2], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(losses[3], rel=1e-8)
    step.assert_gradients(terms, name)
    pairs = [(step.recipe.gamma, "lambda")]
    if base != "bin_disc":
        pairs.append((step.recipe.score_map, "aux"))
    for layer, kind in pairs:
        expected = torch.tensor(step.arrays[f"f64_train_{name}_grad_{kind}"])
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("auxiliary", "term"),
    [("pascl", "asymmetric_contrast"), ("simclr", "projected_discrimination")],
)
def test_auxiliary_terms_are_the_published_ones(auxiliary, term):
    step = ImoodStep(auxiliary=auxiliary)
    terms = step.terms()
    name = f"ada_bin_disc_{auxiliary}"
    losses = step.arrays[f"f64_train_{name}_losses"]
    assert terms[term].item() == pytest.approx(0.05 * losses[2], rel=1e-7)
    assert sum(terms.values()).item() == pytest.approx(losses[3], rel=1e-8)
    step.assert_gradients(terms, name)
    for layer, kind in ((step.recipe.gamma, "lambda"), (step.recipe.projection[0], "proj0")):
        expected = torch.tensor(step.arrays[f"f64_train_{name}_grad_{kind}"])
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-8, atol=1e-10)
