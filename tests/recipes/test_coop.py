import numpy as np
import pytest
import torch

from ltood.core.prior import ClassPrior
from ltood.recipes.coop import Config, Entry

PRIOR = ClassPrior(np.array([3, 2, 2]))


def test_its_loss_is_the_cross_entropy(rng):
    recipe = Entry(Config(class_names="names.txt"), PRIOR)
    logits, labels = rng.normal(size=(5, 3)), np.array([0, 1, 2, 0, 1])
    terms = recipe.prompt_losses(torch.tensor(logits), None, torch.tensor(labels))
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels])
    assert list(terms) == ["cross_entropy"]
    assert terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-12)
    assert recipe.class_names == "names.txt"
    assert not recipe.needs_local
    assert recipe.derived == {}
