import numpy as np
import pytest
import torch

from ltood.core.prior import ClassPrior
from ltood.ops.priors import tempered_prior


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 3.0])
def test_shares_to_a_power(tau):
    counts = np.array([500, 40, 3])
    expected = counts**tau / (counts**tau).sum()
    np.testing.assert_allclose(tempered_prior(ClassPrior(counts), tau), expected, rtol=1e-12)


def test_extreme_counts_stay_finite():
    prior = tempered_prior(ClassPrior(np.array([10**12, 0, 1])), 40.0)
    assert prior.tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert torch.isfinite(prior).all()
