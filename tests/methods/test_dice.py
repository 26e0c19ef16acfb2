import numpy as np
import pytest
import torch
from reference.dice import dice as reference
from reference.dice import sparse_head

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.dice import DICE, Config
from ltood.methods.energy import Energy


@pytest.fixture
def inputs(himplos_golden):
    g = {key: torch.tensor(himplos_golden[key]) for key in ("W", "b", "train_features")}
    labels = torch.tensor(himplos_golden["train_labels"])
    return FitInputs.of(g["train_features"], labels, head=ClassifierHead(g["W"], g["b"]))


def test_golden(himplos_golden, inputs):
    g = himplos_golden
    detector = DICE(Config(float(g["p"]))).fit(inputs)
    assert np.array_equal(detector.state()["weight_"], g["dice_masked_w"])
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(torch.tensor(g[f"{prefix}features"]))
        np.testing.assert_allclose(detector.score(batch), -g[f"{prefix}dice"], rtol=1e-5)


@pytest.mark.parametrize("percentile", [0.0, 62.5, 90.0])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, inputs, percentile, scorer):
    g, features = himplos_golden, himplos_golden["features"][:4]
    detector = DICE(Config(percentile, scorer)).fit(inputs)
    rows = (g["W"], g["b"], g["train_features"], percentile, scorer)
    expected = [reference(f, *rows) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_weights_against_the_reference(himplos_golden, inputs):
    g = himplos_golden
    for percentile in (0.0, 33.0, 99.0, 100.0):
        weight = DICE(Config(percentile)).fit(inputs).state()["weight_"]
        expected = sparse_head(g["W"], g["train_features"], percentile)
        np.testing.assert_array_equal(weight, np.array(expected, dtype=np.float32))


def test_even_zero_percent_drops_the_smallest(himplos_golden, inputs):
    weight = DICE(Config(0.0)).fit(inputs).state()["weight_"]
    dropped = (weight == 0) & (torch.tensor(himplos_golden["W"]) != 0)
    assert dropped.sum() == 1


def test_a_head_without_weights_scores_as_its_bias(inputs):
    zero = FeatureBatch.of(torch.zeros(1, 64), head=inputs.head)
    got = DICE(Config(100.0)).fit(inputs).score(FeatureBatch.of(torch.rand(1, 64)))
    torch.testing.assert_close(got, Energy().score(zero))


def test_features_that_are_always_zero_stay_finite(himplos_golden):
    head = ClassifierHead(torch.tensor(himplos_golden["W"]), torch.tensor(himplos_golden["b"]))
    inputs = FitInputs.of(torch.zeros(3, 64), torch.tensor([0, 1, 2]), head=head)
    detector = DICE().fit(inputs)
    assert torch.isfinite(detector.score(FeatureBatch.of(torch.rand(4, 64)))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 101.0}, r"methods.dice.percentile is 101.0"),
        ({"scorer": "odin"}, r"methods.dice.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.dice.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
