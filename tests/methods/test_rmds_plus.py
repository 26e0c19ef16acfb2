import numpy as np
import pytest
from pooled_samples import made, scored
from reference import scores as reference
from reference.relative_mahalanobis import relative_mahalanobis

from ltood.methods.relative_mahalanobis import RelativeMahalanobis
from ltood.methods.rmds_plus import RMDSPlus


@pytest.mark.parametrize("sizes", [{}, {"counts": (9, 4)}, {"counts": (30, 0, 10)}])
def test_reference(rng, sizes):
    case = made(rng, **sizes)
    units = [np.stack([reference.unit(row) for row in part]) for part in (case.rows, case.train)]
    expected = relative_mahalanobis(*units, case.labels, len(case.bias))
    np.testing.assert_allclose(scored(RMDSPlus(), case), expected, rtol=1e-4, atol=1e-4)


def test_it_is_relative_mahalanobis_of_unit_features(rng):
    case = made(rng)
    expected = scored(RelativeMahalanobis(normalise=True), case)
    assert np.array_equal(scored(RMDSPlus(), case), expected)
