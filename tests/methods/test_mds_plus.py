import numpy as np
import pytest
from pooled_samples import made, scored
from reference import scores as reference

from ltood.methods.mahalanobis import Mahalanobis
from ltood.methods.mds_plus import MDSPlus


@pytest.mark.parametrize(
    "sizes", [{}, {"counts": (9, 4)}, {"counts": (30, 0, 10)}, {"counts": (6, 4), "dim": 20}]
)
def test_reference(rng, sizes):
    case = made(rng, **sizes)
    units = [np.stack([reference.unit(row) for row in part]) for part in (case.rows, case.train)]
    expected = reference.mahalanobis(*units, case.labels, len(case.bias))
    np.testing.assert_allclose(scored(MDSPlus(), case), expected, rtol=1e-4)


def test_it_is_mahalanobis_of_unit_features(rng):
    case = made(rng)
    assert np.array_equal(scored(MDSPlus(), case), scored(Mahalanobis(normalise=True), case))
