"""Our scores beside pytorch-ood's on random arrays; both in float64 inside.

Run by hand in an environment with pytorch-ood: `pytest -m parity tests/parity`.
"""

from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest
import torch

from ltood.core import registry
from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs

pytestmark = pytest.mark.parity

ROWS, TEST_ROWS, DIM, CLASSES = 2000, 300, 24, 7
PRINCIPAL = 12

# pytorch-ood adds 1e-6 to the diagonal of sums over all rows; ours is added to means.
RIDGE = 1e-6 / ROWS


@pytest.fixture(scope="module")
def peers():
    return import_module("pytorch_ood.detector")


@contextmanager
def float64():
    """Make pytorch-ood compute in float64, although it narrows its inputs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def data():
    random = torch.Generator().manual_seed(3)
    means = torch.randn(CLASSES, DIM, generator=random)
    labels = torch.arange(ROWS) % CLASSES
    train = (means[labels] + torch.randn(ROWS, DIM, generator=random)).clamp(min=0)
    test = (2 * torch.randn(TEST_ROWS, DIM, generator=random)).clamp(min=0)
    head = ClassifierHead(
        torch.randn(CLASSES, DIM, generator=random), torch.randn(CLASSES, generator=random)
    )
    return train, labels, test, head


def ours(method, data, **settings):
    train, labels, test, head = data
    module = registry.load("methods", method)
    detector = module.Entry(module.Config(**settings))
    detector.fit(FitInputs.of(train, labels, head=head))
    return detector.score(FeatureBatch.of(test, head=head)).numpy().astype(np.float64)


def wide(data):
    train, labels, test, head = data
    return train.double(), labels, test.double(), head.weight.double(), head.bias.double()


def linear(weight, bias):
    return lambda maps: maps.flatten(1) @ weight.T + bias


def assert_same(mine, peer):
    peer = peer.numpy()
    # A score near zero is the difference of large ones: it is held to their scale.
    np.testing.assert_allclose(mine, peer, rtol=1e-5, atol=1e-6 * np.abs(peer).max())
    # Rows may swap only where float32 cannot tell their scores apart.
    ordered = mine[np.argsort(peer, kind="stable")]
    assert (np.diff(ordered) >= -2 * np.spacing(np.float32(np.abs(peer).max()))).all()


def test_msp(peers, data):
    _, _, test, weight, bias = wide(data)
    assert_same(ours("msp", data), peers.MaxSoftmax(None).predict_logits(test @ weight.T + bias))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_energy(peers, data, temperature):
    _, _, test, weight, bias = wide(data)
    peer = peers.EnergyBased(None, t=temperature).predict_logits(test @ weight.T + bias)
    assert_same(ours("energy", data, temperature=temperature), peer)


@pytest.mark.parametrize("percent", [80.0, 90.0, 98.0])
def test_react(peers, data, percent):
    train, labels, test, weight, bias = wide(data)
    peer = peers.ReAct(None, linear(weight, bias), percentile=percent / 100)
    peer.fit_feature_maps(train, labels)
    assert_same(ours("react", data, percentile=percent), peer.predict_feature_maps(test))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_knn(peers, data, k, normalise):
    train, labels, test, _, _ = wide(data)
    peer = peers.KNN(None, k=k, normalize=normalise).fit_features(train, labels)
    assert_same(ours("knn", data, k=k, normalise=normalise), peer.predict_features(test))


def test_mahalanobis(peers, data):
    train, labels, test, _, _ = wide(data)
    with float64():
        halves = peers.Mahalanobis(None).fit_features(train, labels).predict_features(test)
    assert_same(ours("mahalanobis", data, ridge=RIDGE), 2 * ROWS * halves)


def test_relative_mahalanobis(peers, data):
    train, labels, test, _, _ = wide(data)
    with float64():
        scores = peers.RMD(None).fit_features(train, labels).predict_features(test)
    assert_same(ours("relative_mahalanobis", data, ridge=RIDGE), ROWS * scores)


def test_vim(peers, data):
    train, labels, test, weight, bias = wide(data)
    with float64():
        peer = peers.ViM(None, PRINCIPAL, weight, bias)
        peer.fit_features(train, labels)
        scores = peer.predict_features(test)
    assert_same(ours("vim", data, dim=PRINCIPAL), scores)


@pytest.mark.parametrize("percent", [65.0, 75.0, 85.0, 90.0])
def test_scale(peers, data, percent):
    _, _, test, weight, bias = wide(data)
    peer = peers.SCALE(None, linear(weight, bias), percentile=percent / 100)
    maps = test[:, :, None, None]
    assert_same(ours("scale", data, percentile=percent), peer.predict_feature_maps(maps))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_mcm(peers, data, temperature):
    _, _, test, weight, _ = wide(data)
    with float64():
        peer = peers.MCM(None, weight, temperature=temperature).predict_features(test)
    assert_same(ours("mcm", data, temperature=temperature), peer)
