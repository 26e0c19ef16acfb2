import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pooled_samples import made, scored
from reference import kpca as reference
from reference.scores import unit

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods.kpca import KPCA, Config, fourier, num_kept, random_features


def errors(case, detector, explained):
    """Reconstruction errors by the reference, with the random features that were drawn."""
    place = unit
    if detector.config.features == "rff":
        drawn = [detector.learned(name).double().numpy() for name in ("frequencies_", "phases_")]

        def place(row):
            return reference.fourier(row, *drawn)

    mean, kept = reference.components([place(row) for row in case.train], explained)
    assert detector.derived() == {"components": len(kept)}
    return np.array([reference.kpca(place(row), mean, kept) for row in case.rows])


@pytest.mark.parametrize("settings", [{}, {"features": "rff", "width": 30}])
@pytest.mark.parametrize("explained", [0.3, 0.85, 0.999999])
@pytest.mark.parametrize("sizes", [{}, {"counts": (9, 4)}, {"counts": (3, 2), "dim": 20}])
def test_reference(rng, settings, explained, sizes):
    case = made(rng, **sizes)
    detector = KPCA(Config(explained=explained, **settings))
    got = scored(detector, case)
    np.testing.assert_allclose(got, errors(case, detector, explained), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fusion", ["msp", "energy"])
def test_fusion(rng, fusion):
    case = made(rng)
    error = scored(KPCA(), case)
    logits = case.head.logits(torch.tensor(case.rows))
    confidence = torch.softmax(logits, dim=1).amax(dim=1)
    if fusion == "energy":
        confidence = torch.log1p(torch.logsumexp(logits, dim=1).exp())
    got = scored(KPCA(Config(fusion=fusion)), case)
    np.testing.assert_allclose(got, -(1 - error) * confidence.numpy(), rtol=1e-5)


def test_fusion_is_not_turned_by_negative_energies(rng):
    case = made(rng)
    case.bias[:] -= 100
    assert (scored(KPCA(Config(fusion="energy")), case) <= 0).all()


def test_auto_is_the_papers_share(rng):
    case = made(rng, dim=24)
    for features, share in {"cosine": 0.85, "rff": 0.8}.items():
        auto, given_ = (
            scored(KPCA(Config(features=features, width=40, explained=e)), case)
            for e in ("auto", share)
        )
        assert np.array_equal(auto, given_)


@pytest.mark.parametrize("features", ["cosine", "rff"])
@given(scale=st.floats(1e-3, 1e3))
def test_lengths_do_not_matter(features, scale):
    case = made(np.random.default_rng(3))
    detector = KPCA(Config(features=features, width=16)).fit(case.inputs())
    rows = torch.tensor(case.rows) + 0.1
    torch.testing.assert_close(detector.score(rows * scale), detector.score(rows))


def test_random_features_are_those_of_the_seed(rng):
    case = made(rng)
    first, again, other = (
        scored(KPCA(Config(features="rff", width=32, seed=seed)), case) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_random_features_approach_the_gaussian_kernel(rng):
    case = made(rng)
    rows = torch.tensor(case.rows)
    drawn = random_features(case.inputs(), Config(features="rff", width=20_000, gamma=0.5))
    mapped = fourier(rows, *drawn)
    units = torch.nn.functional.normalize(rows, dim=1)
    kernel = torch.exp(-0.5 * torch.cdist(units, units).square())
    torch.testing.assert_close(mapped @ mapped.T, kernel, atol=0.03, rtol=0)


@given(values=st.lists(st.floats(1e-6, 1), min_size=2, max_size=9), explained=st.floats(0.01, 0.99))
def test_as_few_components_as_explain_the_share(values, explained):
    values = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    kept = num_kept(values, explained)
    assert 1 <= kept < len(values)
    if kept > 1:
        assert values[: kept - 1].sum() < explained * values.sum() * (1 + 1e-12)
    if kept < len(values) - 1:
        assert values[:kept].sum() >= explained * values.sum() * (1 - 1e-12)


def test_another_share_needs_no_second_decomposition(rng, monkeypatch):
    inputs = made(rng).inputs()
    KPCA().fit(inputs)
    monkeypatch.delattr(torch.linalg, "eigh")
    assert KPCA(Config(explained=0.1)).fit(inputs).derived() == {"components": 1}


@pytest.mark.parametrize("features", ["cosine", "rff"])
def test_what_has_no_component_is_refused(rng, features):
    case = made(rng)
    case.train[:] = case.train[0]
    with pytest.raises(DataError, match="kpca finds no component"):
        KPCA(Config(features=features, width=8)).fit(case.inputs())
    empty = FitInputs(TensorSource(FeatureBatch.of(torch.zeros(0, 4), labels=np.zeros(0, int)), 2))
    with pytest.raises(DataError, match="the training split has no rows"):
        KPCA(Config(features=features, width=8)).fit(empty)


def test_restored_random_features_refuse_rows_of_another_width(rng):
    case = made(rng)
    detector = KPCA(Config(features="rff", width=16)).fit(case.inputs())
    twin = KPCA(Config(features="rff", width=16)).restore(detector.state())
    assert torch.equal(twin.score(torch.tensor(case.rows)), detector.score(torch.tensor(case.rows)))
    with pytest.raises(DataError, match="9 columns"):
        twin.score(torch.rand(2, 9))


def test_ranges():
    for key, value in {"explained": 1.0, "gamma": 0.0, "width": 1, "fusion": "react"}.items():
        with pytest.raises(ConfigError, match=rf"methods.kpca.{key} is "):
            Config(**{key: value})
