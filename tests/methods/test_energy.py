import numpy as np
import pytest
import torch
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.energy import Config, Energy


@pytest.mark.parametrize(("array", "temperature"), [("energy", 1.0), ("energy_T2", 2.0)])
def test_golden(himplos_golden, array, temperature):
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(logits=torch.tensor(himplos_golden[f"{prefix}logits"]))
        scores = Energy(Config(temperature)).score(batch)
        np.testing.assert_allclose(scores, -himplos_golden[prefix + array], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_reference(rng, temperature):
    logits = rng.normal(scale=4, size=(20, 6)).astype(np.float32)
    expected = [reference.score(row, "energy", temperature) for row in logits]
    scores = Energy(Config(temperature)).score(FeatureBatch.of(logits=torch.tensor(logits)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_large_logits_do_not_overflow():
    scores = Energy().score(FeatureBatch.of(logits=torch.tensor([[1e4, 0.0], [-1e4, -1e4]])))
    np.testing.assert_allclose(scores, [-1e4, 1e4 - np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_divide(temperature):
    with pytest.raises(ConfigError, match=r"methods.energy.temperature is "):
        Config(temperature)
