"""Methods on pooled features of recent papers beside the formulas of their published codes.

As in `test_published_formulas`: written anew in NumPy and float64, with the steps that the codes
take, their rounding of bins and their count of components included. What ours mends is not met by
these rows, unless a switch brings it back.
"""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.kpca import KPCA
from parity.test_published_formulas import CLASSES, ROWS, data, ours, unit


def gaps():
    """Feature less mean of the rows predicted alike, signs of the class weight, L1 norm."""
    d = data()
    predicted = d.z_train.argmax(axis=1)
    assert set(predicted) == set(range(CLASSES))
    means = np.stack([d.f_train[predicted == c].mean(axis=0) for c in range(CLASSES)])
    best = d.z.argmax(axis=1)
    return d.f - means[best], np.sign(d.w[best]), np.abs(d.f).sum(axis=1)


def caref():
    gap, _, size = gaps()
    return np.abs(gap).sum(axis=1) / size


def levels(z, kind):
    if kind == "gen":
        p = np.sort(softmax(z, axis=1), axis=1)[:, -max(10, CLASSES // 10) :]
        return 1 / (p**0.1 * (1 - p) ** 0.1).sum(axis=1)
    if kind == "msp":
        return softmax(z, axis=1).max(axis=1)
    return logsumexp(z, axis=1) if kind == "energy" else z.max(axis=1)


def cadref(kind):
    gap, signs, size = gaps()
    along, against = (
        np.maximum(part, 0).sum(axis=1) / size for part in (gap * signs, -gap * signs)
    )
    return along / levels(data().z, kind) + against / levels(data().z_train, kind).mean()


def optfs(scorer, bins):
    """With edges by repeated steps, as theirs, and one mask for each bin."""
    d = data()
    left, right = np.quantile(d.f_train, 1e-3), np.quantile(d.f_train, 1 - 1e-3)
    width = (right - left) / bins
    edges = np.arange(left, right, width)[:bins]
    parts = d.w[d.z_train.argmax(axis=1)] * d.f_train
    inside = [(d.f_train >= edge) & (d.f_train < edge + width) for edge in edges]
    found = np.array([(mask * parts).sum(axis=1).mean() for mask in inside])
    theta = found / np.linalg.norm(found) * 1000
    shaped = np.zeros_like(d.f)
    for edge, factor in zip(edges, theta, strict=True):
        shaped += ((d.f >= edge) & (d.f < edge + width)) * d.f * factor
    if scorer == "logit":
        return -(d.w[d.z.argmax(axis=1)] * shaped).sum(axis=1)
    return -logsumexp(shaped @ d.w.T + d.b, axis=1)


def reconstruction_error(train, rows, explained):
    """By the singular vectors of the centred Gram matrix, counted as theirs counts."""
    mean = train.mean(axis=0)
    vectors, values, _ = np.linalg.svd((train - mean).T @ (train - mean))
    shares = [values[:i].sum() / values.sum() for i in range(len(values))]
    number = next(i for i in range(1, len(shares)) if shares[i - 1] < explained <= shares[i])
    kept, centred = vectors[:, :number], rows - mean
    return np.linalg.norm(centred - centred @ kept @ kept.T, axis=1)


def kpca(explained, fusion="none"):
    d = data()
    error = reconstruction_error(unit(d.f_train), unit(d.f), explained)
    if fusion == "none":
        return error
    # Theirs grows with ID-ness; their energy is positive, where a softplus changes it little.
    energy = np.log1p(np.exp(logsumexp(d.z, axis=1)))
    return -(1 - error) * (energy if fusion == "energy" else softmax(d.z, axis=1).max(axis=1))


def wdiscood(dim, weight, normalise):
    """Eigenvectors of inv(S_w + alpha I) S_b in coordinates whitened by a symmetric root."""
    d = data()
    rows, train = (unit(f) if normalise else f for f in (d.f, d.f_train))
    own = np.stack([train[d.labels == c].mean(axis=0) for c in range(CLASSES)])[d.labels]
    precision = np.linalg.inv((train - own).T @ (train - own) / ROWS)
    values, vectors = np.linalg.eigh(precision)
    root = vectors @ np.diag(values**0.5) @ vectors.T
    rows, train = rows @ root, train @ root
    means = np.stack([train[d.labels == c].mean(axis=0) for c in range(CLASSES)])
    centre, away = train.mean(axis=0), train - means[d.labels]
    between = (means - centre).T @ (means - centre) / CLASSES
    within = away.T @ away / ROWS + 1e-5 * np.eye(len(root))
    ratios, found = np.linalg.eig(np.linalg.inv(within) @ between)
    chosen = np.real(found[:, np.argsort(-np.real(ratios))[:dim]]).T
    basis = np.linalg.svd(chosen)[2][:dim]
    outside = np.eye(len(root)) - basis.T @ basis
    near = np.linalg.norm((rows[:, None] - means) @ chosen.T, axis=2).min(axis=1)
    return near + weight * np.linalg.norm((rows - centre) @ outside.T, axis=1)


def grood():
    """By the mean of the class means, one of their switches, and squared distances."""
    d = data()
    means = np.stack([d.f_train[d.labels == c].mean(axis=0) for c in range(CLASSES)])
    outlier = means.mean(axis=0)

    def gradients(rows):
        away = rows[:, None] - np.vstack([means, outlier])
        shares = softmax(-np.linalg.norm(away, axis=2), axis=1)
        return shares[:, -1:] * unit(rows - outlier)

    bank = gradients(d.f_train[d.z_train.argmax(axis=1) == d.labels])
    squared = ((gradients(d.f)[:, None] - bank) ** 2).sum(axis=2)
    # Theirs is the square.
    return np.sqrt(squared.min(axis=1))


def on_the_sphere(ridge):
    d = data()
    rows, train = unit(d.f), unit(d.f_train)
    means = np.stack([train[d.labels == c].mean(axis=0) for c in range(CLASSES)])
    centred = train - means[d.labels]
    covariance = centred.T @ centred / ROWS
    covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    away = rows[:, None] - means
    return np.einsum("ncd,de,nce->nc", away, np.linalg.inv(covariance), away).min(axis=1)


def relative_on_the_sphere():
    d = data()
    centred = unit(d.f_train) - unit(d.f_train).mean(axis=0)
    away = unit(d.f) - unit(d.f_train).mean(axis=0)
    precision = np.linalg.inv(centred.T @ centred / ROWS)
    return on_the_sphere(0) - np.einsum("nd,de,ne->n", away, precision, away)


#: Method, its settings, the formula and what this takes.
CASES = [
    ("caref", {}, caref, ()),
    ("cadref", {}, cadref, ("gen",)),
    ("cadref", {"logit": "msp"}, cadref, ("msp",)),
    ("cadref", {"logit": "energy", "official_level": True}, cadref, ("energy",)),
    ("cadref", {"logit": "maxlogit", "official_level": True}, cadref, ("maxlogit",)),
    ("optfs", {}, optfs, ("energy", 100)),
    ("optfs", {"scorer": "logit", "bins": 30}, optfs, ("logit", 30)),
    ("kpca", {}, kpca, (0.85,)),
    ("kpca", {"explained": 0.5}, kpca, (0.5,)),
    ("kpca", {"fusion": "msp"}, kpca, (0.85, "msp")),
    ("kpca", {"fusion": "energy"}, kpca, (0.85, "energy")),
    ("wdiscood", {}, wdiscood, (5, 5.0, False)),
    ("wdiscood", {"dim": 3, "weight": 1.0, "normalise": True}, wdiscood, (3, 1.0, True)),
    ("grood", {"prototype": "mean"}, grood, ()),
    ("mds_plus", {}, on_the_sphere, (0,)),
    ("hpm", {}, on_the_sphere, (0.1,)),
    ("rmds_plus", {}, relative_on_the_sphere, ()),
]


@pytest.mark.parametrize(
    ("method", "settings", "formula", "arguments"),
    CASES,
    ids=["-".join([method, *map(str, given)]) for method, _, _, given in CASES],
)
def test_scores_are_those_of_the_published_formula(method, settings, formula, arguments):
    wanted = formula(*arguments)
    got = ours(method, **settings)
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5 * wanted.std())


def test_random_fourier_features_are_reconstructed_as_published():
    d = data()
    head = ClassifierHead(torch.tensor(d.weight), torch.tensor(d.bias))
    method = KPCA(features="rff", width=64, gamma=0.5)
    method.fit(FitInputs.of(torch.tensor(d.train), torch.tensor(d.labels), head=head))
    drawn = [method.learned(name).double().numpy() for name in ("frequencies_", "phases_")]
    rows, train = (
        np.sqrt(2 / 64) * np.cos(unit(part) @ drawn[0].T + drawn[1]) for part in (d.f, d.f_train)
    )
    wanted = reconstruction_error(train, rows, 0.8)
    got = method.score(FeatureBatch.of(torch.tensor(d.test))).numpy()
    np.testing.assert_allclose(got, wanted, rtol=2e-5)
