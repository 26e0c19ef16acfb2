import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pooled_samples import made, scored
from reference import scores as reference

from ltood.core.errors import ConfigError
from ltood.methods.hpm import HPM, Config
from ltood.methods.mahalanobis import Mahalanobis
from ltood.methods.mds_plus import MDSPlus

SIZES = [{}, {"counts": (9, 4)}, {"counts": (30, 0, 10)}, {"counts": (3, 2), "dim": 20}]


def mean_variance(case):
    """Trace of the covariance of unit features within classes, over their width."""
    units = np.stack([reference.unit(row) for row in case.train])
    means = reference.class_means(units, case.labels, len(case.bias))
    return ((units - means[case.labels]) ** 2).sum() / units.size


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("ridge", [1e-3, 0.01, 2.0])
def test_reference(rng, sizes, ridge):
    case = made(rng, **sizes)
    units = [np.stack([reference.unit(row) for row in part]) for part in (case.rows, case.train)]
    added = ridge * mean_variance(case)
    expected = reference.mahalanobis(*units, case.labels, len(case.bias), added)
    np.testing.assert_allclose(scored(HPM(Config(ridge=ridge)), case), expected, rtol=1e-4)


@given(ridge=st.floats(0, 10), seed=st.integers(0, 99))
def test_it_is_mahalanobis_with_its_settings(ridge, seed):
    case = made(np.random.default_rng(seed))
    plain = Mahalanobis(normalise=True, ridge=ridge * mean_variance(case))
    got = scored(HPM(Config(ridge=ridge)), case)
    np.testing.assert_allclose(got, scored(plain, case), rtol=1e-4)


def test_without_a_ridge_it_is_mahalanobis_plus_plus(rng):
    case = made(rng)
    assert np.array_equal(scored(HPM(Config(ridge=0)), case), scored(MDSPlus(), case))


@pytest.mark.parametrize(
    ("counts", "dim", "share"),
    [((900, 300), 12, 0.1), ((5, 4), 14, 2.0), ((3, 0, 2), 20, 20 / 3)],
)
def test_the_ridge_grows_where_rows_are_few(rng, counts, dim, share):
    case = made(rng, counts=counts, dim=dim)
    auto = HPM(ridge="auto")
    got = scored(auto, case)
    assert auto.derived() == {"ridge": pytest.approx(share)}
    assert HPM(ridge="auto").restore(auto.state()).derived() == auto.derived()
    np.testing.assert_allclose(got, scored(HPM(ridge=share), case), rtol=1e-6)
    assert HPM().fit(case.train, case.labels).derived() == {}


def test_ranges():
    with pytest.raises(ConfigError, match=r"methods.hpm.ridge is -1"):
        Config(ridge=-1)
