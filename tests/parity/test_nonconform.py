"""Our conformal p-values beside nonconform's, with ties and weights.

It needs Python 3.12. Run by hand: `pytest -m parity tests/parity`.
"""

import numpy as np
import pytest
import torch

from ltood.ops.conformal import RankMap
from ltood.ops.mondrian import GroupedMap

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def empirical():
    return pytest.importorskip("nonconform").Empirical()


@pytest.fixture(params=["plain", "ties", "one row"])
def scores(request, rng):
    calibration, new = rng.normal(size=500), rng.normal(0.5, size=300)
    if request.param == "ties":
        calibration, new = calibration.round(1), new.round(1)
    return (calibration[:1] if request.param == "one row" else calibration), new


def test_p_values(empirical, scores):
    calibration, new = scores
    ours = RankMap.fit(torch.tensor(calibration)).p_values(torch.tensor(new))
    np.testing.assert_array_equal(ours, empirical.compute_p_values(new, calibration))


def test_weights(empirical, scores, rng):
    calibration, new = scores
    weights = rng.uniform(0.1, 5, size=len(calibration))
    fitted = RankMap.fit(torch.tensor(calibration), weights=torch.tensor(weights))
    own = np.full(len(new), weights.max())
    theirs = empirical.compute_p_values(new, calibration, (weights, own))
    np.testing.assert_allclose(fitted.p_values(torch.tensor(new)), theirs, rtol=1e-10)


def test_groups(empirical, scores):
    calibration, new = scores
    own, groups = np.arange(len(calibration)) % 3, np.arange(len(new)) % 3
    groups %= own.max() + 1
    fitted = GroupedMap.fit(torch.tensor(calibration), torch.tensor(own), 3, minimum=0)
    ours = fitted.p_values(torch.tensor(new), torch.tensor(groups)).numpy()
    for group in np.unique(groups):
        theirs = empirical.compute_p_values(new[groups == group], calibration[own == group])
        np.testing.assert_array_equal(ours[groups == group], theirs)
