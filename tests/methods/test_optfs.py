import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pooled_samples import made, scored
from reference import optfs as reference

from ltood.core.errors import ConfigError, DataError
from ltood.methods.optfs import Config, OptFS
from ltood.ops import statistics


@pytest.mark.parametrize("scorer", ["energy", "logit"])
@pytest.mark.parametrize(
    ("bins", "tail", "sizes"),
    [(7, 0.05, {}), (1, 0.0, {}), (100, 0.001, {"counts": (9, 4)}), (5, 0.1, {"dim": 90})],
)
def test_reference(rng, scorer, bins, tail, sizes):
    case = made(rng, **sizes)
    learned = reference.factors(case.train, case.weight, case.bias, bins, tail, 10.0)
    expected = [reference.optfs(row, case.weight, case.bias, learned, scorer) for row in case.rows]
    detector = OptFS(Config(bins=bins, tail=tail, norm=10.0, scorer=scorer))
    np.testing.assert_allclose(scored(detector, case), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(detector.learned("factors_"), learned[2], rtol=1e-4, atol=1e-6)
    assert detector.derived() == pytest.approx({"low": learned[0], "high": learned[1]})


def test_the_factors_have_the_given_length(rng):
    detector = OptFS(Config(norm=30.0)).fit(made(rng).inputs())
    assert float(detector.learned("factors_").norm()) == pytest.approx(30, rel=1e-5)


def test_what_lies_outside_of_the_bins_is_dropped(rng):
    case = made(rng)
    case.rows[:] = case.train.max() + 1
    detector = OptFS().fit(case.inputs())
    got = detector.score(torch.tensor(case.rows))
    expected = -torch.logsumexp(torch.tensor(case.bias), dim=0)
    torch.testing.assert_close(got, expected.expand(len(got)))


def test_the_range_may_come_from_a_histogram(rng, monkeypatch):
    case = made(rng, counts=(300, 200, 100))
    exact = OptFS().fit(case.inputs()).derived()
    monkeypatch.setattr(statistics, "EXACT_VALUES", 10)
    coarse = OptFS().fit(case.inputs()).derived()
    assert coarse != exact
    # The low end is 0, which a bin of a histogram does not miss by anything that matters.
    assert coarse == pytest.approx(exact, rel=2**-11, abs=1e-30)


@given(shift=st.floats(0.5, 2))
def test_the_range_follows_the_unit_of_features(shift):
    case, other = made(np.random.default_rng(2)), made(np.random.default_rng(2))
    other.train[:] *= np.float32(shift)
    other.rows[:] *= np.float32(shift)
    other.weight[:] /= np.float32(shift)
    expected = scored(OptFS(Config(bins=3)), case)
    got = scored(OptFS(Config(bins=3)), other)
    # Only an activation on the edge of a bin may fall to the other side.
    assert (np.isclose(got, expected, rtol=1e-3, atol=1e-3)).mean() > 0.7


def test_activations_without_range_are_refused(rng):
    case = made(rng)
    case.train[:] = 1
    with pytest.raises(DataError, match=r"methods.optfs.tail"):
        OptFS().fit(case.inputs())


def test_ranges():
    with pytest.raises(ConfigError, match=r"methods.optfs.bins is 0"):
        Config(bins=0)
    with pytest.raises(ConfigError, match=r"methods.optfs.tail is 0.5"):
        Config(tail=0.5)
    with pytest.raises(ConfigError, match=r"methods.optfs.norm is 0"):
        Config(norm=0)
