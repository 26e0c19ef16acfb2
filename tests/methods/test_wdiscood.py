import numpy as np
import pytest
import torch
from pooled_samples import made, scored
from reference.wdiscood import wdiscood as reference

from ltood.core.errors import ConfigError, DataError
from ltood.methods.mahalanobis import Mahalanobis
from ltood.methods.wdiscood import Config, WDiscOOD


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(
    ("sizes", "dim", "settings"),
    [
        ({}, 2, {"dim": "auto"}),
        ({}, 1, {"dim": 1, "weight": 0.0}),
        ({"counts": (9, 4)}, 1, {}),
        ({"counts": (30, 0, 10)}, 1, {}),  # a class without rows
        ({"counts": (6, 4), "dim": 20}, 1, {"dim": 1}),  # more features than rows
    ],
)
def test_reference(rng, sizes, dim, settings, normalise):
    case = made(rng, **sizes)
    weight = settings.get("weight", 5.0)
    rest = (case.rows, case.train, case.labels, len(case.bias))
    expected = reference(*rest, dim, weight, normalise)
    detector = WDiscOOD(Config(normalise=normalise, **settings))
    np.testing.assert_allclose(scored(detector, case), expected, rtol=1e-4)
    assert detector.derived() == {"dim": dim}


def test_with_all_directions_it_is_the_mahalanobis_distance(rng):
    case = made(rng)
    expected = scored(Mahalanobis(), case) ** 0.5
    np.testing.assert_allclose(scored(WDiscOOD(Config(dim=8)), case), expected, rtol=1e-4)


def test_classes_count_alike_whatever_their_rows(rng):
    case = made(rng, counts=(30, 30, 30))
    detector = WDiscOOD(Config(dim=1)).fit(case.inputs())
    model = detector.learned("map_")
    means = np.stack([case.train[case.labels == c].mean(axis=0) for c in range(3)])
    spread = (means @ model.numpy()).var(axis=0)
    assert spread[0] == pytest.approx(spread.max(), rel=1e-3)


def test_auto_leaves_a_third_of_the_directions(rng):
    case = made(rng, counts=(6,) * 20, dim=9)
    assert WDiscOOD().fit(case.inputs()).derived() == {"dim": 6}


def test_no_more_directions_than_rows_span(rng):
    case = made(rng, counts=(3, 2), dim=20)
    assert WDiscOOD(Config(dim=20)).fit(case.inputs()).derived() == {"dim": 3}


def test_what_cannot_be_fitted_is_refused(rng):
    with pytest.raises(ConfigError, match=r"methods.wdiscood.dim is 9 but .* 8 wide"):
        WDiscOOD(Config(dim=9)).fit(made(rng).inputs())
    with pytest.raises(DataError, match="do not vary within their classes"):
        WDiscOOD().fit(made(rng, counts=(1, 1, 1)).inputs())


def test_one_row_of_a_class_is_enough(rng):
    case = made(rng, counts=(12, 1))
    assert torch.isfinite(torch.tensor(scored(WDiscOOD(), case))).all()
