import numpy as np
import pytest
import torch

from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops import gaussian
from ltood.ops.blas import times_upper
from ltood.ops.gaussian import (
    mahalanobis,
    min_squared_distance,
    tied_gaussian,
    triangular_whitening,
    whitening,
)


@pytest.fixture
def data(rng):
    labels = np.repeat([0, 1, 2], [5000, 3000, 2000])
    features = (
        rng.normal(size=(10000, 6)) @ rng.normal(size=(6, 6)) + 50 + labels[:, None]
    ).astype(np.float32)
    return features, labels


def test_covariances_equal_numpy(data):
    features, labels = data
    model = tied_gaussian(FitInputs.of(torch.tensor(features), torch.tensor(labels)))
    wide = features.astype(np.float64)
    centred = np.concatenate([wide[labels == c] - wide[labels == c].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(model.covariance, centred.T @ centred / 10000, rtol=1e-9, atol=1e-9)
    total = np.cov(wide.T, bias=True)
    np.testing.assert_allclose(model.total_covariance, total, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [65, 200, 600])
def test_covariance_is_whole_and_symmetric_whatever_the_panels(rng, width):
    features = rng.normal(size=(2500, width)).astype(np.float32)
    labels = torch.arange(2500) % 3
    found = tied_gaussian(FitInputs.of(torch.tensor(features), labels)).covariance
    wide = features.astype(np.float64)
    centred = wide.copy()
    for c in range(3):
        centred[labels == c] -= wide[labels == c].mean(axis=0)
    assert torch.equal(found, found.T)
    np.testing.assert_allclose(found, centred.T @ centred / 2500, rtol=1e-9, atol=1e-12)


def test_the_model_is_fitted_once(data):
    inputs = FitInputs.of(torch.tensor(data[0]), torch.tensor(data[1]))
    assert tied_gaussian(inputs) is tied_gaussian(inputs)
    assert tied_gaussian(inputs) is not tied_gaussian(inputs, normalise=True)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("rank", [8, 3])
def test_whitening_is_a_root_of_the_pseudo_inverse(rng, rank, scale):
    factor = rng.normal(size=(8, rank))
    covariance = scale * factor @ factor.T
    map_ = whitening(torch.tensor(covariance))
    assert map_.shape == (8, rank)
    expected = np.linalg.pinv(covariance, rcond=1e-12, hermitian=True)
    np.testing.assert_allclose(map_ @ map_.T, expected, rtol=1e-6, atol=1e-9 / scale)


def test_a_ridge_fills_the_rank(rng):
    factor = rng.normal(size=(8, 3))
    map_ = whitening(torch.tensor(factor @ factor.T), ridge=0.1)
    expected = np.linalg.inv(factor @ factor.T + 0.1 * np.eye(8))
    np.testing.assert_allclose(map_ @ map_.T, expected, rtol=1e-8, atol=1e-10)


def test_no_variance_is_refused():
    with pytest.raises(DataError, match="do not vary within their classes"):
        whitening(torch.zeros(3, 3, dtype=torch.float64))
    assert whitening(torch.zeros(3, 3, dtype=torch.float64), ridge=1.0).shape == (3, 3)


def test_distances_do_not_depend_on_chunks(rng, monkeypatch):
    points, centres = torch.tensor(rng.normal(size=(50, 4))), torch.tensor(rng.normal(size=(7, 4)))
    expected = torch.cdist(points, centres).square().amin(dim=1)
    torch.testing.assert_close(min_squared_distance(points, centres), expected)
    monkeypatch.setattr(gaussian, "CHUNK_VALUES", 1)
    torch.testing.assert_close(min_squared_distance(points, centres), expected)
    assert min_squared_distance(points[:0], centres).shape == (0,)


def test_a_mean_is_at_distance_zero(rng):
    means = torch.tensor(rng.normal(size=(3, 4))).float()
    map_ = whitening(torch.eye(4, dtype=torch.float64))
    distances = mahalanobis(means, map_, means.double() @ map_)
    assert (distances >= 0).all()
    assert distances.max() < 1e-12


@pytest.mark.parametrize("dim", [3, 70, 200])
def test_triangular_and_orthogonal_maps_give_the_same_distances(rng, dim):
    spread = rng.normal(size=(dim, dim)) * np.logspace(0, -2, dim)
    covariance = torch.tensor(spread.T @ spread + 1e-3 * np.eye(dim))
    rows = torch.tensor(rng.normal(size=(50, dim)))
    upper, full = triangular_whitening(covariance), whitening(covariance)
    assert torch.equal(upper, upper.triu())
    torch.testing.assert_close(times_upper(rows, upper), rows @ upper)
    expected = (rows @ full).square().sum(dim=1)
    torch.testing.assert_close(
        times_upper(rows, upper).square().sum(dim=1), expected, rtol=1e-9, atol=0
    )
    inverse = torch.linalg.inv(covariance + 0.5 * torch.eye(dim).double())
    ridged = triangular_whitening(covariance, 0.5)
    torch.testing.assert_close(ridged @ ridged.T, inverse, rtol=1e-9, atol=1e-9)


def test_a_doubtful_rank_is_left_to_the_eigenvalues(rng):
    thin = torch.tensor(rng.normal(size=(20, 3)))
    covariance = thin @ thin.T
    assert triangular_whitening(covariance).shape == (20, 3)
    torch.testing.assert_close(triangular_whitening(covariance), whitening(covariance))
    with pytest.raises(DataError, match="do not vary within their classes"):
        triangular_whitening(torch.zeros(4, 4).double())


@pytest.mark.parametrize("num", [1, 3, 50, 64])
@pytest.mark.parametrize("seed", range(3))
def test_rows_that_repeat_within_their_class_do_not_vary(num, seed):
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(4, 16)).astype(np.float32), num, axis=0)
    labels = torch.arange(4).repeat_interleave(num)
    model = tied_gaussian(FitInputs.of(rows, labels))
    assert not model.covariance.any()
    for whiten in (whitening, triangular_whitening):
        with pytest.raises(DataError, match="do not vary within their classes"):
            whiten(model.covariance)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("num", [2, 60, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_all_alike_do_not_vary(num, seed, normalise):
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(size=(1, 8)).astype(np.float32), num, axis=0)
    if normalise:  # Powers of two keep directions to the last bit.
        rows *= np.float32(2) ** rng.integers(-4, 4, size=(num, 1))
    model = tied_gaussian(FitInputs.of(rows, np.arange(num) % 3), normalise=normalise)
    assert not model.covariance.any()


def test_a_feature_that_is_constant_within_classes_is_no_direction(rng):
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    labels = np.arange(300) % 3
    rows[:, 2] = 10 * labels
    model = tied_gaussian(FitInputs.of(rows, labels))
    assert not model.covariance[2].any()
    assert whitening(model.covariance).shape == (5, 4)
    assert triangular_whitening(model.covariance)[2].abs().max() < 1e-12


@pytest.mark.parametrize("whiten", [whitening, triangular_whitening])
def test_a_wide_feature_hides_no_other(rng, whiten):
    factor = rng.normal(size=(6, 6))
    covariance = torch.tensor(factor @ factor.T)
    scale = torch.ones(6, dtype=torch.float64)
    scale[1] = 1e7
    found = whiten(scale[:, None] * covariance * scale)
    assert found.shape == (6, 6)
    inverse = scale[:, None] * (found @ found.T) * scale
    torch.testing.assert_close(inverse, torch.linalg.inv(covariance), rtol=1e-6, atol=1e-8)
