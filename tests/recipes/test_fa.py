import math

import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes import coop
from ltood.recipes._text_heads import prompt_learning_rate
from ltood.recipes.fa import Config, Entry

PRIOR = ClassPrior(np.ones(4, dtype=np.int64))


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_its_loss_is_that_of_all_copies(rng, copies):
    learned, frozen = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    labels = np.array([0, 3, 2, 2, 1])
    every = np.concatenate([learned, *[frozen] * copies], axis=1)
    expected = np.mean(np.log(np.exp(every).sum(1)) - every[np.arange(5), labels])
    given = torch.tensor(np.concatenate([learned, frozen], axis=1))
    terms = Entry(Config(copies=copies), PRIOR).prompt_losses(given, None, torch.tensor(labels))
    assert list(terms) == ["cross_entropy"]
    assert terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-12)


def test_without_copies_it_is_coop(rng):
    recipe, other = Entry(Config(copies=0), PRIOR), coop.Entry(coop.Config(), PRIOR)
    logits, labels = torch.tensor(rng.normal(size=(5, 4))), torch.tensor([0, 3, 2, 2, 1])
    assert recipe.prompt_losses(logits, None, labels) == other.prompt_losses(logits, None, labels)
    assert recipe.frozen_copies == other.frozen_copies == 0


def test_the_schedule_is_the_published_one():
    """A cosine over all steps, without a warm-up, as torch's CosineAnnealingLR falls."""
    config, steps = Config(epochs=6), 5
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs * steps)
    for step in range(config.epochs * steps):
        found = prompt_learning_rate(step // steps, config, (step % steps) / steps)
        assert found == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        cosine.step()


def test_a_warm_up_delays_the_cosine_of_steps():
    config = Config(epochs=4, warmup_learning_rate=1e-5)
    assert prompt_learning_rate(0, config, 0.9) == 1e-5
    assert prompt_learning_rate(1, config) == config.learning_rate
    expected = config.learning_rate * (1 + math.cos(math.pi * 0.5 / 4)) / 2
    assert prompt_learning_rate(1, config, 0.5) == pytest.approx(expected)


def test_defaults_are_those_of_the_official_code():
    config = Config()
    assert (config.copies, config.epochs, config.batch_size) == (3, 50, 160)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.002, 0.9, 5e-4)
    assert config.ctx_init == "a photo of a"


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"copies": -1}, "copies"),
        ({"ctx_init": None}, "ctx_init"),
        ({"ctx_init": " "}, "ctx_init"),
        ({"schedule": "often"}, "schedule"),
    ],
)
def test_bad_settings_are_refused(settings, key):
    with pytest.raises(ConfigError, match=rf"recipes\.fa\.{key}"):
        Config(**settings)
    Config(copies=0, ctx_init=None)
