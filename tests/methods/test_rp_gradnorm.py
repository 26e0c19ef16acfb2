from pathlib import Path

import numpy as np
import pytest
import torch
from reference import rp_gradnorm as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.methods.gradnorm import GradNorm
from ltood.methods.rp_gradnorm import Config, RPGradNorm

TAUS = {"": 1.0, "_tau050": 0.5, "_tau000": 0.0}


def scores(features, logits, counts, **settings):
    detector = RPGradNorm(Config(**settings)).fit(FitInputs(prior=ClassPrior(np.array(counts))))
    return detector.score(FeatureBatch.of(torch.tensor(features), torch.tensor(logits)))


@pytest.mark.parametrize("split", ["id", "ood"])
@pytest.mark.parametrize("suffix", TAUS)
def test_golden(imood_golden, split, suffix):
    g, features = imood_golden, imood_golden[f"{split}_feats"]
    logits = features @ g["W_in"].T + g["b_in"]
    with np.load(Path(__file__).parents[1] / "golden" / "class_prior.npz") as golden:
        expected = golden[f"f64_score_rp_gradnorm{suffix}_{split}"]
    settings = {"tau": TAUS[suffix], "official_softmax_prior": True}
    got = scores(features, logits, g["class_counts"], **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("softmax_prior", [False, True])
@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
def test_reference(rng, tau, softmax_prior):
    features = rng.normal(size=(15, 6)).astype(np.float32)
    logits, counts = rng.normal(scale=2, size=(15, 4)).astype(np.float32), [90, 20, 5, 0]
    expected = [
        reference.rp_gradnorm(f, z, counts, tau, softmax_prior)
        for f, z in zip(features, logits, strict=True)
    ]
    got = scores(features, logits, counts, tau=tau, official_softmax_prior=softmax_prior)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_uniform_prior_is_gradnorm(toy):
    for settings, prior in (({"tau": 0.0}, toy.inputs.prior), ({}, ClassPrior.uniform(4))):
        detector = RPGradNorm(Config(**settings)).fit(FitInputs(prior=prior))
        got = detector.score(toy.id_batch)
        torch.testing.assert_close(got, GradNorm().score(toy.id_batch), rtol=1e-6, atol=1e-6)


def test_extremes_stay_finite():
    features, logits = [[0.0, 0.0], [1.0, -3.0]], [[5.0, -5.0], [3e38, -3e38]]
    assert scores(features, logits, [0, 5]).tolist() == [0.0, -8.0]


@pytest.mark.parametrize("tau", [-0.1, float("nan"), float("inf")])
def test_tau_is_an_exponent(tau):
    with pytest.raises(ConfigError, match=r"methods.rp_gradnorm.tau is "):
        Config(tau)
