import numpy as np
import pytest
import torch
from reference import gen as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.gen import GEN, Config


def scores(rows, **settings):
    return GEN(Config(**settings)).score(FeatureBatch.of(logits=torch.tensor(rows)))


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 3, 100])
def test_reference(rng, gamma, k):
    logits = rng.normal(scale=6, size=(25, 8)).astype(np.float32)
    expected = [reference.gen(row, gamma, k) for row in logits]
    np.testing.assert_allclose(scores(logits, gamma=gamma, k=k), expected, rtol=1e-5)


def test_by_hand():
    # Two equal classes: p (1 - p) is a quarter twice, and its root one half.
    assert scores([[2.0, 2.0]], gamma=0.5).tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("gap", [20.0, 60.0, 200.0])
def test_confident_rows_are_exact(gap):
    row = [[gap, 0.0, -1.0]]
    assert float(scores(row)) == pytest.approx(reference.gen(row[0]), rel=1e-5)


def test_extremes_stay_finite():
    assert scores([[3e38, -3e38, 0.0]]).tolist() == [0.0]
    assert scores([[0.0, 0.0]], k=1).tolist() == pytest.approx([0.25**0.1])
    assert scores([[4.0]]).tolist() == [0.0]


@pytest.mark.parametrize("gamma", [0.0, 1.0, -0.1, float("nan")])
def test_gamma_lies_between_0_and_1(gamma):
    with pytest.raises(ConfigError, match=r"methods.gen.gamma is "):
        Config(gamma=gamma)


def test_k_counts_probabilities():
    with pytest.raises(ConfigError, match=r"methods.gen.k is 0"):
        Config(k=0)
