import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes._probes import probe_learning_rate
from ltood.recipes.linear_probe import Config, Entry

PRIOR = ClassPrior(np.array([3, 2, 2]))


def test_its_loss_is_the_cross_entropy(rng):
    logits, labels = rng.normal(size=(5, 3)), np.array([0, 1, 2, 0, 1])
    terms = Entry(Config(), PRIOR).probe_losses(torch.tensor(logits), torch.tensor(labels))
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels])
    assert list(terms) == ["cross_entropy"]
    assert terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-12)


def test_the_rate_falls_from_the_whole_to_almost_nothing():
    config = Config()
    assert probe_learning_rate(0, config) == config.learning_rate == 0.1
    assert probe_learning_rate(0.5, config) == pytest.approx(0.05)
    assert 0 < probe_learning_rate(0.999, config) < 1e-6


def test_defaults_are_the_published_ones():
    assert (Config().epochs, Config().learning_rate, Config().standardise) == (20, 0.1, False)


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"epochs": 0}, "epochs"), ({"momentum": 1.0}, "momentum"), ({"shots": 0}, "shots")],
)
def test_bad_settings_are_refused(settings, key):
    with pytest.raises(ConfigError, match=rf"recipes\.linear_probe\.{key}"):
        Config(**settings)
