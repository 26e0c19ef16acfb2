import math

import numpy as np
import pytest
import torch
from scipy import stats

from ltood.ops.weibull import fit_weibull, weibull_cdf


@pytest.mark.parametrize("shape", [0.5, 1.0, 4.0, 300.0])
def test_scipy(rng, shape):
    sample = 7 * rng.weibull(shape, size=40)
    padded = torch.tensor(np.concatenate([sample, np.zeros(5)]))[None]
    got_shape, got_scale = (float(value) for value in fit_weibull(padded))
    expected_shape, _, expected_scale = stats.weibull_min.fit(sample, floc=0)
    assert got_shape == pytest.approx(expected_shape, rel=1e-3)
    assert got_scale == pytest.approx(expected_scale, rel=1e-3)
    # The likelihood, not the oracle's stopping rule, is what must be largest.
    best = stats.weibull_min.logpdf(sample, got_shape, scale=got_scale).sum()
    for factor in (0.999, 1.001):
        assert stats.weibull_min.logpdf(sample, got_shape * factor, scale=got_scale).sum() < best
        assert stats.weibull_min.logpdf(sample, got_shape, scale=got_scale * factor).sum() < best


@pytest.mark.parametrize("unit", [1e-150, 1e-6, 1e150])
def test_units_only_change_the_scale(rng, unit):
    samples = torch.tensor(rng.weibull(2.0, size=(3, 20)))
    shape, scale = fit_weibull(samples)
    other_shape, other_scale = fit_weibull(samples * unit)
    torch.testing.assert_close(other_shape, shape)
    torch.testing.assert_close(other_scale / unit, scale)


def test_unequal_values_have_a_root(rng):
    hard = [[1.0, 1.0, 1.00001], [1e-8, 1.0, 1.0], [1e-8, 1e-8, 1.0], [1.0, 2.0, 3.0]]
    shape, scale = fit_weibull(torch.tensor(hard, dtype=torch.float64))
    assert torch.isfinite(scale).all()
    for row, k in zip(hard, shape.tolist(), strict=True):
        logs = np.log(np.array(row) / max(row))
        powers = np.exp(k * logs)
        assert (powers @ logs) / powers.sum() - 1 / k == pytest.approx(logs.mean(), rel=1e-6)


def test_too_few_or_equal_values_give_probability_zero():
    rows = [[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0]]
    shape, scale = fit_weibull(torch.tensor(rows, dtype=torch.float64))
    assert shape.tolist() == [1.0] * 3
    assert scale.tolist() == [math.inf] * 3
    assert weibull_cdf(torch.tensor([0.0, 5.0, 1e30]).double(), shape, scale).tolist() == [0.0] * 3


def test_cdf():
    values = torch.tensor([0.0, 0.5, 2.0, 1e30], dtype=torch.float64)
    got = weibull_cdf(values, torch.tensor(3.0).double(), torch.tensor(2.0).double())
    np.testing.assert_allclose(got, stats.weibull_min.cdf(values.numpy(), 3.0, scale=2.0))
