import math

import numpy as np
import pytest
import torch
from image_samples import TinyImages, make_plan, resumed_to_the_bit, train_tiny
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.losses.balanced_energy import balanced_energy_loss, log_expected_share
from ltood.networks.checkpoint import load_checkpoint, read_head_extras
from ltood.recipes import energy_oe
from ltood.recipes.balanced_energy import Config, Entry


def test_without_powers_and_lift_it_is_energy_oe_to_the_last_bit():
    step = GoldenStep()
    same = {"tau": 1.0, "margin_in": -4.0, "margin_out": -1.0}
    balanced = Entry(Config(lift=0.0, lift_power=0.0, weight_power=0.0, **same), step.prior)
    balanced.take_outlier_counts(np.arange(1, 8))
    found = step.terms(balanced)
    expected = step.terms(energy_oe.Entry(energy_oe.Config(**same), step.prior))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_terms_are_those_of_the_paper():
    step = GoldenStep()
    recipe = Entry(Config(margin_in=-4.0, margin_out=-1.0, lift=3.0, weight_power=2.0), step.prior)
    recipe.double().take_outlier_counts(np.array([40, 0, 10, 20, 5, 5, 20]))
    shares = np.array([40, 0, 10, 20, 5, 5, 20]) / 100
    terms = step.terms(recipe)
    rows = step.rows.detach().view(3, 24, 64)
    logits, aux_logits = (
        step.backbone.head(part).detach() for part in (rows[:2].flatten(0, 1), rows[2])
    )
    logs = [torch.tensor(shares**power / (shares**power).sum()).log() for power in (0.75, 2.0)]
    expected = balanced_energy_loss(
        logits,
        aux_logits,
        margin_in=-4.0,
        margin_out=-1.0,
        lift=3.0 * log_expected_share(aux_logits, logs[0]).exp(),
        log_weights=log_expected_share(aux_logits, logs[1]),
    )
    assert terms["energy_margin"].item() == pytest.approx(0.1 * expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("num_classes", "margin", "lift"), [(10, -23.0, 10.0), (100, -27.0, 100.0), (7, -27.0, 7.0)]
)
def test_margin_and_lift_follow_the_number_of_classes(num_classes, margin, lift):
    recipe = Entry(Config(), ClassPrior.uniform(num_classes))
    assert (recipe.margin_in, recipe.lift) == (margin, lift)
    chosen = Entry(Config(margin_in=-9.0, lift=2.0), ClassPrior.uniform(num_classes))
    assert (chosen.margin_in, chosen.lift) == (-9.0, 2.0)


def predicted(checkpoint, images):
    """Share of outliers that a trained net takes for each class."""
    backbone, _ = load_checkpoint(checkpoint)
    pixels = torch.from_numpy(images.split("aux").images.copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = backbone(pixels.float() / 255).logits.argmax(dim=1)
    return np.bincount(found, minlength=3) / len(found)


def test_the_shares_are_those_of_the_network_at_the_start(tmp_path, capsys):
    images = TinyImages()
    train_tiny(tmp_path / "first", make_plan(epochs=2), images)
    plan = make_plan(recipe="balanced_energy", epochs=1, weights=str(tmp_path / "first"))
    train_tiny(tmp_path / "tuned", plan, images)
    assert "outlier_prior" not in capsys.readouterr().err
    shares = read_head_extras(tmp_path / "tuned")["outlier_shares"]
    np.testing.assert_allclose(shares, predicted(tmp_path / "first", images), atol=1e-6)
    assert shares.sum() == pytest.approx(1)


def test_they_can_follow_the_network_instead(tmp_path):
    settings = {"outlier_prior": "running", "margin_in": -6.0, "margin_out": -2.0, "lift": 1.0}
    history, store = train_and_extract(tmp_path, "balanced_energy", settings, epochs=6)
    assert float(history[-1]["energy_margin"]) < float(history[0]["energy_margin"])
    shares = store.head_arrays()["outlier_shares"]
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert not np.allclose(shares, 1 / 3)


def test_a_stop_neither_counts_anew_nor_changes_a_bit(tmp_path, monkeypatch, capsys):
    plan = make_plan(recipe="balanced_energy", epochs=2, checkpoint_minutes=0.0)
    assert resumed_to_the_bit(tmp_path, plan, monkeypatch)
    # The shares of a network that has learned nothing are told for what they are.
    assert "outlier_prior" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"outlier_prior": "given"}, r"balanced_energy\.outlier_prior"),
        ({"energy_weight": -1.0}, r"balanced_energy\.energy_weight"),
        ({"margin_out": math.nan}, r"balanced_energy\.margin_out"),
        ({"lift": -1.0}, r"balanced_energy\.lift"),
        ({"lift_power": math.inf}, r"balanced_energy\.lift_power"),
        ({"weight_power": -0.5}, r"balanced_energy\.weight_power"),
        ({"aux_per_image": 0.0}, r"balanced_energy\.aux_per_image"),
    ],
)
def test_bad_settings_are_named(settings, key):
    with pytest.raises(ConfigError, match=key):
        parse(settings, Config, "recipes.balanced_energy")


def test_margins_in_the_wrong_order_are_refused():
    with pytest.raises(ConfigError, match=r"balanced_energy\.margin_out is -30\.0"):
        Entry(Config(margin_out=-30.0), ClassPrior.uniform(3))
