import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.ops.priors import check_tau, tempered_prior


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 3.0])
def test_shares_to_a_power(tau):
    counts = np.array([500, 40, 3])
    expected = counts**tau / (counts**tau).sum()
    np.testing.assert_allclose(tempered_prior(ClassPrior(counts), tau), expected, rtol=1e-12)


def test_extreme_counts_stay_finite():
    prior = tempered_prior(ClassPrior(np.array([10**12, 0, 1])), 40.0)
    assert prior.tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert torch.isfinite(prior).all()


@pytest.mark.parametrize("tau", [-0.5, float("nan"), float("inf")])
def test_tau_is_an_exponent(tau):
    with pytest.raises(ConfigError, match=r"methods.rp_msp.tau is .*set it to 0 or more"):
        check_tau(tau, "methods.rp_msp.tau")
