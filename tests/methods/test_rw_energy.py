from pathlib import Path

import numpy as np
import pytest
import torch
from reference import rw_energy as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.methods.rw_energy import Config, RWEnergy

TAUS = {"": 1.0, "_tau050": 0.5, "_tau000": 0.0}


def scores(logits, counts, tau=1.0):
    detector = RWEnergy(Config(tau)).fit(FitInputs(prior=ClassPrior(np.array(counts))))
    return detector.score(FeatureBatch.of(logits=torch.tensor(logits)))


@pytest.mark.parametrize("split", ["id", "ood"])
@pytest.mark.parametrize("suffix", TAUS)
def test_golden(imood_golden, split, suffix):
    g = imood_golden
    logits = g[f"{split}_feats"] @ g["W_in"].T + g["b_in"]
    with np.load(Path(__file__).parents[1] / "golden" / "class_prior.npz") as golden:
        expected = golden[f"f64_score_rw_energy{suffix}_{split}"]
    got = scores(logits, g["class_counts"], TAUS[suffix])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
def test_reference(rng, tau):
    logits, counts = rng.normal(scale=2, size=(20, 4)).astype(np.float32), [90, 20, 5, 0]
    expected = [reference.rw_energy(row, counts, tau) for row in logits]
    np.testing.assert_allclose(scores(logits, counts, tau), expected, rtol=1e-5, atol=1e-7)


def test_a_softmax_like_the_prior_has_weight_zero():
    logits = np.log([[100.0, 10.0, 1.0]]) + 3
    assert float(scores(logits, [100, 10, 1])) == pytest.approx(0.0, abs=1e-6)


def test_huge_logits_stay_finite():
    got = scores([[1e38, -1e38], [-1e38, -1e38]], [0, 5])
    assert got[0] == torch.tensor(-1e38)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("tau", [-0.1, float("nan"), float("inf")])
def test_tau_is_an_exponent(tau):
    with pytest.raises(ConfigError, match=r"methods.rw_energy.tau is "):
        Config(tau)
