import math

import numpy as np
import pytest
import torch
from reference import entropy as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.entropy import Config, Entropy


@pytest.mark.parametrize("temperature", [0.5, 1.0, 30.0])
def test_reference(rng, temperature):
    logits = rng.normal(scale=5, size=(25, 7)).astype(np.float32)
    expected = [reference.entropy(row, temperature) for row in logits]
    got = Entropy(Config(temperature)).score(FeatureBatch.of(logits=torch.tensor(logits)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_uniform_is_the_largest():
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    uniform, other = Entropy().score(FeatureBatch.of(logits=logits)).tolist()
    assert uniform == pytest.approx(math.log(3))
    assert other < uniform


def test_confident_rows_keep_their_order():
    gaps = torch.linspace(18.0, 30.0, 50)
    logits = torch.stack([gaps, torch.zeros(50)], dim=1)
    scores = Entropy().score(FeatureBatch.of(logits=logits))
    assert (scores.diff() < 0).all()


def test_huge_logits_stay_finite():
    logits = torch.tensor([[3e38, -3e38], [-3e38, -3e38]])
    assert Entropy().score(FeatureBatch.of(logits=logits)).tolist() == [
        0.0,
        pytest.approx(0.6931472),
    ]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_divide(temperature):
    with pytest.raises(ConfigError, match=r"methods.entropy.temperature is "):
        Config(temperature)
