import numpy as np
import pytest
import torch
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.msp import MSP, Config


def test_golden(himplos_golden):
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(logits=torch.tensor(himplos_golden[f"{prefix}logits"]))
        np.testing.assert_allclose(MSP().score(batch), -himplos_golden[f"{prefix}msp"], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_reference(rng, temperature):
    logits = rng.normal(scale=4, size=(20, 6)).astype(np.float32)
    expected = [reference.score(row, "msp", temperature) for row in logits]
    scores = MSP(Config(temperature)).score(FeatureBatch.of(logits=torch.tensor(logits)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_huge_logits_stay_finite():
    logits = torch.tensor([[3e38, -3e38], [0.0, 0.0]])
    assert MSP().score(FeatureBatch.of(logits=logits)).tolist() == [-1.0, -0.5]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_divide(temperature):
    with pytest.raises(ConfigError, match=r"methods.msp.temperature is "):
        Config(temperature)
