from pathlib import Path

import numpy as np
import pytest
import torch
from reference import rp_msp as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.methods.msp import MSP
from ltood.methods.rp_msp import RPMSP, Config

TAUS = {"": 1.0, "_tau050": 0.5, "_tau000": 0.0}


def scores(logits, counts, **settings):
    detector = RPMSP(Config(**settings)).fit(FitInputs(prior=ClassPrior(np.array(counts))))
    return detector.score(FeatureBatch.of(logits=torch.tensor(logits)))


@pytest.mark.parametrize("split", ["id", "ood"])
@pytest.mark.parametrize("suffix", TAUS)
def test_golden(imood_golden, split, suffix):
    g = imood_golden
    logits = g[f"{split}_feats"] @ g["W_in"].T + g["b_in"]
    with np.load(Path(__file__).parents[1] / "golden" / "class_prior.npz") as golden:
        expected = golden[f"f64_score_rp_msp{suffix}_{split}"]
    got = scores(logits, g["class_counts"], tau=TAUS[suffix])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.01, 0.5])
@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
def test_reference(rng, tau, scale):
    logits, counts = rng.normal(scale=2, size=(20, 4)).astype(np.float32), [90, 20, 5, 0]
    expected = [reference.rp_msp(row, counts, tau, scale) for row in logits]
    got = scores(logits, counts, tau=tau, scale=scale)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_without_the_prior_it_is_msp(rng):
    logits = rng.normal(size=(20, 3)).astype(np.float32)
    expected = MSP().score(FeatureBatch.of(logits=torch.tensor(logits)))
    assert torch.equal(scores(logits, [9, 3, 1], scale=0.0), expected)


def test_frequent_classes_need_more_probability():
    frequent, rare = scores([[2.0, 0.0], [0.0, 2.0]], [100, 1]).tolist()
    assert frequent > rare


def test_huge_logits_stay_finite():
    assert scores([[3e38, -3e38]], [0, 5]).tolist() == [-1.0]


@pytest.mark.parametrize("key", ["tau", "scale"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_ranges(key, value):
    with pytest.raises(ConfigError, match=rf"methods.rp_msp.{key} is "):
        Config(**{key: value})
