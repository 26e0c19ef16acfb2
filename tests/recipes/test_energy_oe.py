import math

import numpy as np
import pytest
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.recipes.energy_oe import Config, Entry


def test_terms_and_gradients_are_the_published_ones():
    step = GoldenStep()
    terms = step.terms(Entry(Config(tau=1.0), step.prior))
    expected = step.arrays["f64_train_energy_none_losses"]
    assert terms["cross_entropy"].item() == pytest.approx(expected[0], rel=1e-8)
    assert terms["energy_margin"].item() == pytest.approx(0.5 * expected[1], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(expected[3], rel=1e-8)
    step.assert_gradients(terms, "energy_none")


@pytest.mark.parametrize(("num_classes", "margin"), [(7, -27.0), (10, -23.0), (100, -27.0)])
def test_the_margin_follows_the_number_of_classes(num_classes, margin):
    assert Entry(Config(), ClassPrior.uniform(num_classes)).margin_in == margin
    chosen = Entry(Config(margin_in=-9.0), ClassPrior.uniform(num_classes))
    assert chosen.margin_in == -9.0


def test_a_tiny_net_parts_the_energies(tmp_path):
    settings = {"margin_in": -6.0, "margin_out": -2.0}
    history, store = train_and_extract(tmp_path, "energy_oe", settings, epochs=6)
    assert float(history[-1]["energy_margin"]) < float(history[0]["energy_margin"])

    def mean_energy(split):
        logits = store.split(split).load(["logits"])["logits"]
        return -np.log(np.exp(logits).sum(axis=1)).mean()

    assert mean_energy("train") < mean_energy("aux")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"energy_weight": -1.0}, r"energy_oe\.energy_weight is -1\.0"),
        ({"energy_weight": math.inf}, r"energy_oe\.energy_weight is inf"),
        ({"margin_in": -4.0}, r"margin_in is -4\.0 and margin_out is -5\.0; .*at most margin_out"),
        ({"margin_in": -math.inf}, r"margin_in is -inf"),
        ({"margin_out": math.inf}, r"energy_oe\.margin_out is inf"),
        ({"aux_per_image": 0.0}, r"energy_oe\.aux_per_image is 0\.0"),
        ({"tau": math.nan}, r"recipes\.energy_oe\.tau is nan"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "recipes.energy_oe")


def test_a_low_outer_margin_needs_an_inner_one():
    with pytest.raises(ConfigError, match=r"margin_out is -30\.0, below the margin_in of -27\.0"):
        Entry(Config(margin_out=-30.0), ClassPrior.uniform(3))
    assert Entry(Config(margin_in=-31.0, margin_out=-30.0), ClassPrior.uniform(3))
