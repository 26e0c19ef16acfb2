import clip_samples
import numpy as np
import pytest
import torch
from reference import mcm as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.mcm import MCM, Config


@pytest.mark.parametrize("case", ["T1", "T0.01"])
def test_golden(case):
    g = clip_samples.golden(case)
    inputs, batch = clip_samples.inputs_and_batch(case)
    got = MCM(Config(float(g["T"]))).fit(inputs).score(batch)
    np.testing.assert_allclose(got, g["official_mcm"], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 2.0])
def test_reference(rng, temperature):
    inputs, batch, weight, features, _ = clip_samples.random_rows(rng)
    expected = [reference.mcm(row, weight, temperature) for row in features]
    got = MCM(Config(temperature)).fit(inputs).score(batch)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_zero_feature_is_undecided(rng):
    inputs, batch, *_ = clip_samples.random_rows(rng)
    detector = MCM().fit(inputs)
    zero = FeatureBatch.of(torch.zeros(1, 8))
    assert float(detector.score(zero)) == pytest.approx(-1 / 6)
    assert (detector.score(batch) < -1 / 6).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_divide(temperature):
    with pytest.raises(ConfigError, match=r"methods.mcm.temperature is "):
        Config(temperature)
