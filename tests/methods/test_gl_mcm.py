import clip_samples
import numpy as np
import pytest
import torch
from reference import mcm as reference

from ltood.core.errors import ConfigError
from ltood.methods.gl_mcm import GLMCM, Config
from ltood.methods.mcm import MCM


@pytest.mark.parametrize("case", ["T1", "T0.01"])
def test_golden(case):
    g = clip_samples.golden(case)
    inputs, batch = clip_samples.inputs_and_batch(case)
    for w, expected in ((1.0, g["official_glmcm"]), (0.5, -g["glmcm_lambda0.5_id"])):
        got = GLMCM(Config(float(g["T"]), w)).fit(inputs).score(batch)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("w", [0.3, 1.0])
def test_reference(rng, temperature, w):
    inputs, batch, weight, features, local = clip_samples.random_rows(rng)
    expected = [
        reference.gl_mcm(row, patches, weight, temperature, w)
        for row, patches in zip(features, local, strict=True)
    ]
    got = GLMCM(Config(temperature, w)).fit(inputs).score(batch)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_without_the_local_part_it_is_mcm(rng):
    inputs, batch, *_ = clip_samples.random_rows(rng)
    got = GLMCM(Config(local_weight=0.0)).fit(inputs).score(batch)
    assert torch.equal(got, MCM().fit(inputs).score(batch))


def test_ranges():
    with pytest.raises(ConfigError, match=r"methods.gl_mcm.temperature is 0.0"):
        Config(temperature=0.0)
    for w in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"methods.gl_mcm.local_weight is "):
            Config(local_weight=w)
