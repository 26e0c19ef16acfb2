import clip_samples
import numpy as np
import pytest
import torch
from reference import mcm as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.l_mcm import LMCM, Config


@pytest.mark.parametrize("case", ["T1", "T0.01"])
def test_golden(case):
    g = clip_samples.golden(case)
    inputs, batch = clip_samples.inputs_and_batch(case)
    got = LMCM(Config(float(g["T"]))).fit(inputs).score(batch)
    np.testing.assert_allclose(got, -g["lmcm_id"], rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 2.0])
def test_reference(rng, temperature):
    inputs, batch, weight, _, local = clip_samples.random_rows(rng)
    expected = [reference.l_mcm(patches, weight, temperature) for patches in local]
    got = LMCM(Config(temperature)).fit(inputs).score(batch)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_one_patch_decides(rng):
    inputs, _, weight, *_ = clip_samples.random_rows(rng)
    local = torch.zeros(1, 5, 8)
    detector = LMCM(Config(0.1)).fit(inputs)
    assert float(detector.score(FeatureBatch.of(local=local))) == pytest.approx(-1 / 6)
    local[0, 3] = torch.tensor(weight[2])
    expected = reference.mcm(weight[2], weight, 0.1)
    got = float(detector.score(FeatureBatch.of(local=local)))
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_divide(temperature):
    with pytest.raises(ConfigError, match=r"methods.l_mcm.temperature is "):
        Config(temperature)
