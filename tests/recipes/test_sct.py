import math

import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes import locoop
from ltood.recipes.sct import Config, Entry
from tests.reference import local_entropy as reference

PRIOR = ClassPrior(np.ones(5, dtype=np.int64))
NONE = {"weight_id": "none", "weight_ood": "none"}


def batch(rng, rows=4):
    logits, local = 3 * rng.normal(size=(rows, 5)), 3 * rng.normal(size=(rows, 6, 5))
    return logits, local, rng.integers(5, size=rows)


def terms_of(recipe, parts):
    logits, local, labels = (torch.tensor(part) for part in parts)
    leaf = logits.requires_grad_()
    terms = recipe.prompt_losses(leaf, local, labels)
    sum(terms.values()).backward()
    return {name: value.item() for name, value in terms.items()}, leaf.grad


def slow(logits, local, labels, config):
    """Both terms in float64, one image at a time."""
    probabilities = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        powers = [math.exp(value - max(row)) for value in row]
        probabilities.append(powers[label] / sum(powers))
    misses = [1.0000001 - p if config.weight_id == "miss" else 1.0 for p in probabilities]
    own = [-math.log(p) * miss for p, miss in zip(probabilities, misses, strict=True)]
    hits = [1e-7 + p if config.weight_ood == "hit" else 1.0 for p in probabilities]
    entropy, _ = reference.local_entropy(local.tolist(), labels.tolist(), 2, hits)
    return {
        "cross_entropy": sum(own) / len(own),
        "local_entropy": config.entropy_weight * entropy,
    }


@pytest.mark.parametrize("weight_id", ["none", "miss"])
@pytest.mark.parametrize("weight_ood", ["none", "hit"])
@pytest.mark.parametrize("detach", [False, True])
def test_its_terms_equal_one_image_at_a_time(rng, weight_id, weight_ood, detach):
    config = Config(
        weight_id=weight_id,
        weight_ood=weight_ood,
        detach_weights=detach,
        topk=2,
        entropy_weight=0.7,
    )
    parts = batch(rng)
    terms, _ = terms_of(Entry(config, PRIOR), parts)
    assert terms == pytest.approx(slow(*parts, config), rel=1e-10)
    assert abs(terms["local_entropy"]) > 0.01


@pytest.mark.parametrize("detach", [False, True])
def test_without_weights_it_is_locoop_bit_for_bit(rng, detach):
    parts = batch(rng)
    own = Entry(Config(**NONE, detach_weights=detach, topk=2), PRIOR)
    other = locoop.Entry(locoop.Config(topk=2), PRIOR)
    terms, slope = terms_of(own, parts)
    expected, expected_slope = terms_of(other, parts)
    assert terms == expected
    assert torch.equal(slope, expected_slope)


def test_gradients_flow_through_the_weights_as_published(rng):
    """The slope of -(1 - p) log p by hand; detached, only that of -log p times the weight."""
    logits = rng.normal(size=(1, 5))
    parts = (logits, rng.normal(size=(1, 6, 5)), np.array([3]))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    minus_log_slope = p - np.eye(5)[3]
    settings = {"entropy_weight": 0.0, "topk": 2}
    _, slope = terms_of(Entry(Config(**settings), PRIOR), (parts[0], parts[1], parts[2]))
    hit = p[3]
    expected = (1.0000001 - hit + hit * -np.log(hit)) * minus_log_slope
    np.testing.assert_allclose(slope[0], expected, rtol=1e-10)
    _, slope = terms_of(Entry(Config(**settings, detach_weights=True), PRIOR), parts)
    np.testing.assert_allclose(slope[0], (1.0000001 - hit) * minus_log_slope, rtol=1e-10)


def test_images_that_are_classified_for_sure_teach_by_their_patches_alone(rng):
    logits, local, labels = batch(rng)
    logits[np.arange(4), labels] = 50.0
    terms, _ = terms_of(Entry(Config(topk=2), PRIOR), (logits, local, labels))
    plain, _ = terms_of(locoop.Entry(locoop.Config(topk=2), PRIOR), (logits, local, labels))
    assert terms["cross_entropy"] == pytest.approx(0, abs=1e-12)
    assert terms["local_entropy"] == pytest.approx(plain["local_entropy"], rel=1e-6)


def test_defaults_are_those_of_the_official_code():
    config = Config()
    assert (config.epochs, config.batch_size, config.learning_rate) == (25, 32, 0.002)
    assert (config.entropy_weight, config.n_ctx, config.warmup_learning_rate) == (0.25, 16, 1e-5)
    assert Entry(Config(), ClassPrior(np.ones(1000, dtype=np.int64))).derived == {"topk": 200}


@pytest.mark.parametrize(
    ("settings", "key"), [({"epochs": 0}, "epochs"), ({"weight_id": "hit"}, "weight_id")]
)
def test_bad_settings_are_refused(settings, key):
    with pytest.raises(ConfigError, match=rf"recipes\.sct\.{key}"):
        Config(**settings)


def test_a_rank_that_no_patch_reaches_is_warned_of_by_its_own_name():
    with pytest.warns(UserWarning, match=r"recipes\.sct\.topk is 5 of 5"):
        Entry(Config(topk=5), PRIOR)
