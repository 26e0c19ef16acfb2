import numpy as np
import pytest
import torch
from reference.gmm import em
from reference.gmm import gmm as reference
from sklearn.mixture import GaussianMixture as Oracle

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods import gmm
from ltood.methods.gmm import GMM, Config, k_means

SKLEARN = {"tied": "tied", "diagonal": "diag"}


@pytest.fixture
def data(rng):
    """Four clusters of unequal size, far apart, correlated within, and rows around them."""
    owners = np.repeat(np.arange(4), (200, 100, 50, 20))
    centres = 12 * rng.normal(size=(4, 5))
    within = np.eye(5) + 0.5 * rng.normal(size=(5, 5))
    train = (centres[owners] + rng.normal(size=(370, 5)) @ within + 30).astype(np.float32)
    rows = (train[::20] + rng.normal(size=(19, 5))).astype(np.float32)
    return train, rows


def scored(train, rows, **settings):
    detector = GMM(Config(**settings)).fit(FitInputs.of(torch.tensor(train)))
    return detector.score(FeatureBatch.of(torch.tensor(rows))).numpy()


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_equals_scikit_learn_on_easy_data(data, covariance):
    train, rows = data
    oracle = Oracle(4, covariance_type=SKLEARN[covariance], tol=1e-6, reg_covar=1e-9, n_init=5)
    oracle.random_state = 0
    expected = -oracle.fit(train.astype(np.float64)).score_samples(rows.astype(np.float64))
    got = scored(train, rows, k=4, covariance=covariance, ridge=1e-9)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_overlapping_clusters_equal_scikit_learn_from_the_same_start(rng, covariance):
    train = (rng.normal(size=(300, 4)) + 2.5 * rng.integers(2, size=300)[:, None]).astype(
        np.float32
    )
    wide = train.astype(np.float64)
    oracle = Oracle(2, covariance_type=SKLEARN[covariance], tol=1e-8, max_iter=1000, reg_covar=0)
    oracle.random_state = 0
    expected = -oracle.fit(wide).score_samples(wide[:20])
    gmm_scores = scored(train, train[:20], k=2, covariance=covariance, ridge=1e-12)
    # Where a mixture is flat, the tolerance decides how far EM walks.
    np.testing.assert_allclose(gmm_scores, expected, atol=0.05)


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_rounds_and_scores_equal_plain_loops(rng, data, covariance, monkeypatch):
    train, rows = data[0][::5], data[1]
    owners = torch.tensor(rng.integers(3, size=len(train)))
    monkeypatch.setattr(gmm, "k_means", lambda *_: owners)
    monkeypatch.setattr(gmm, "TOLERANCE", -np.inf)
    # Round one has nothing to go by but the clusters.
    weights = [float((owners == j).double().mean()) for j in range(3)]
    means = [train[owners == j].astype(np.float64).mean(axis=0) for j in range(3)]
    gaps = train - np.stack(means)[owners]
    if covariance == "tied":
        covariances = [gaps.T @ gaps / len(train)] * 3
    else:
        covariances = [np.diag((gaps[owners == j] ** 2).mean(axis=0)) for j in range(3)]
    overall = np.cov(train.T.astype(np.float64), bias=True)
    if covariance == "diagonal":
        overall = np.diag(np.diag(overall))
    mixture = (weights, means, [own + 0.1 * overall for own in covariances])
    for rounds in (1, 2, 3):
        monkeypatch.setattr(gmm, "ROUNDS", rounds)
        got = scored(train, rows, k=3, covariance=covariance, ridge=0.1)
        np.testing.assert_allclose(got, reference(rows, *mixture), rtol=1e-5)
        mixture = em(train, *mixture, covariance, 0.1)


def test_one_component_is_a_gaussian(data):
    train, rows = data
    mean, covariance = train.mean(axis=0, dtype=np.float64), np.cov(train.T, bias=True)
    expected = reference(rows, [1.0], [mean], [covariance * (1 + 1e-6)])
    np.testing.assert_allclose(scored(train, rows, k=1, ridge=1e-6), expected, rtol=1e-5)


def test_clusters_are_found_and_repeat(data):
    rows = torch.tensor(data[0]).double()
    found = k_means(rows, 4, torch.Generator().manual_seed(0))
    assert sorted(torch.bincount(found).tolist()) == [20, 50, 100, 200]
    again = k_means(rows, 4, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_more_components_than_different_rows(covariance):
    train = np.repeat(np.array([[0, 1], [3, 4], [9, 0]], np.float32), 10, axis=0)
    got = scored(train, np.array([[0, 1], [6, 6]], np.float32), k=8, covariance=covariance)
    assert np.isfinite(got).all()
    assert got[1] > got[0] + 100


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_the_unit_of_the_features_does_not_matter(data, covariance):
    train, rows = data
    expected = scored(train, rows, k=4, covariance=covariance)
    got = scored(train * 1e-4, rows * 1e-4, k=4, covariance=covariance)
    np.testing.assert_allclose(got, expected + 5 * np.log(1e-4), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_wide_features_with_dead_ones_and_zero_rows(rng, covariance):
    train = rng.normal(size=(40, 512)).astype(np.float32)
    train[:, 7] = 0.1
    rows = rng.normal(size=(5, 512)).astype(np.float32)
    train[3], rows[0] = 0, 0
    assert np.isfinite(scored(train, rows, k=10, covariance=covariance)).all()


def test_of_many_rows_evenly_spaced_ones_are_taken(data, monkeypatch):
    train, rows = data
    expected = scored(train[::2], rows, k=4)
    monkeypatch.setattr(gmm, "FIT_VALUES", 5 * 185)
    np.testing.assert_array_equal(scored(train, rows, k=4), expected)


@pytest.mark.parametrize("covariance", ["tied", "diagonal"])
def test_features_must_vary(covariance):
    with pytest.raises(DataError, match=r"are all alike, so a mixture has no scale"):
        scored(np.ones((4, 3), np.float32), np.ones((1, 3), np.float32), k=1, covariance=covariance)


def test_there_must_be_rows():
    with pytest.raises(DataError, match="the training split has no rows"):
        scored(np.ones((0, 3), np.float32), np.ones((1, 3), np.float32))


def test_components_must_not_outnumber_rows(data):
    with pytest.raises(ConfigError, match=r"methods.gmm.k is 10 but there are only 6 .* at most 6"):
        scored(data[0][:6], data[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, r"methods.gmm.k is 0"),
        ({"covariance": "full"}, r"methods.gmm.covariance is 'full'"),
        ({"ridge": 0.0}, r"methods.gmm.ridge is 0.0"),
        ({"ridge": float("nan")}, r"methods.gmm.ridge is nan"),
        ({"seed": -1}, r"methods.gmm.seed is -1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
