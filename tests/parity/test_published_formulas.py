"""Methods without vectors of their authors' code beside the formulas of these codes.

The formulas are written anew in NumPy and float64, from the codes that each method cites, and
share nothing with `ltood`. A factor beside a formula is a stated departure that keeps the order.
"""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logsumexp, rel_entr, softmax

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.registry import load

ROWS, TEST_ROWS, DIM, CLASSES = 240, 60, 42, 6


@cache
def data():
    """Long-tailed activations after a ReLU, and a head: float32 as stored, float64 by symbol."""
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(CLASSES), [80, 60, 40, 30, 20, 10])
    means = rng.normal(size=(CLASSES, DIM))
    d = SimpleNamespace(labels=labels)
    d.train = np.maximum(means[labels] + rng.normal(size=(ROWS, DIM)), 0).astype(np.float32)
    d.test = np.maximum(1.5 * rng.normal(size=(TEST_ROWS, DIM)), 0).astype(np.float32)
    d.weight = (0.3 * means + 0.1 * rng.normal(size=(CLASSES, DIM))).astype(np.float32)
    d.bias = rng.normal(size=CLASSES).astype(np.float32)
    d.f_train, d.f, d.w, d.b = (
        rows.astype(np.float64) for rows in (d.train, d.test, d.weight, d.bias)
    )
    d.z, d.z_train = d.f @ d.w.T + d.b, d.f_train @ d.w.T + d.b
    return d


def ours(method, **settings):
    d = data()
    head = ClassifierHead(torch.tensor(d.weight), torch.tensor(d.bias))
    inputs = FitInputs.of(torch.tensor(d.train), torch.tensor(d.labels), head=head)
    detector = load("methods", method).Entry(**settings).fit(inputs)
    return detector.score(FeatureBatch.of(torch.tensor(d.test), head=head)).numpy()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def head_logits(rows):
    return rows @ data().w.T + data().b


def energy_of(rows):
    return -logsumexp(head_logits(rows), axis=1)


def top(rows, percentile):
    """Indices of the activations that stay, as many as ASH, SCALE and LTS keep."""
    number = rows.shape[1] - int(np.round(rows.shape[1] * percentile / 100.0))
    return np.argsort(-rows, axis=1, kind="stable")[:, :number]


def pruned(rows, percentile):
    kept, index = np.zeros_like(rows), top(rows, percentile)
    np.put_along_axis(kept, index, np.take_along_axis(rows, index, axis=1), axis=1)
    return kept


def ratio(rows, percentile):
    return (rows.sum(axis=1) / pruned(rows, percentile).sum(axis=1))[:, None]


def residual_basis(dim):
    d = data()
    origin = -np.linalg.pinv(d.w) @ d.b
    centred = d.f_train - origin
    values, vectors = np.linalg.eigh(centred.T @ centred / ROWS)
    return origin, vectors[:, np.argsort(-values)[dim:]]


def out_of_space(rows, dim):
    origin, basis = residual_basis(dim)
    return np.linalg.norm((rows - origin) @ basis, axis=1)


def ash_p(percentile):
    return energy_of(pruned(data().f, percentile))


def ash_b(percentile):
    f = data().f
    number = top(f, percentile).shape[1]
    binary = (pruned(f, percentile) > 0) * (f.sum(axis=1) / number)[:, None]
    return energy_of(binary)


def ash_s(percentile):
    f = data().f
    return energy_of(pruned(f, percentile) * np.exp(ratio(f, percentile)))


def scale(percentile):
    f = data().f
    return energy_of(f * np.exp(ratio(f, percentile)))


def lts(percentile):
    return -logsumexp(data().z * ratio(data().f, percentile) ** 2, axis=1)


def gen(gamma, k):
    p = np.sort(softmax(data().z, axis=1), axis=1)[:, -k:]
    return (p**gamma * (1 - p) ** gamma).sum(axis=1)


def entropy():
    p = softmax(data().z, axis=1)
    return -(p * np.log(p)).sum(axis=1)


def kl_matching():
    p, p_train = softmax(data().z, axis=1), softmax(data().z_train, axis=1)
    predicted = p_train.argmax(axis=1)
    means = [p_train[predicted == c].mean(axis=0) for c in np.unique(predicted)]
    return np.min([rel_entr(p, mean).sum(axis=1) for mean in means], axis=0)


def nnguide(k):
    d = data()
    bank = unit(d.f_train) * logsumexp(d.z_train, axis=1)[:, None]
    guides = np.sort(unit(d.f) @ bank.T, axis=1)[:, -k:].mean(axis=1)
    return -guides * logsumexp(d.z, axis=1)


def nci(alpha):
    d = data()
    centred = d.f - d.f_train.mean(axis=0)
    along = (d.w[d.z.argmax(axis=1)] * centred).sum(axis=1) / np.linalg.norm(centred, axis=1)
    return -(along + alpha * np.abs(d.f).sum(axis=1))


def fdbd():
    d = data()
    gaps = np.linalg.norm(d.w[:, None] - d.w, axis=2)
    best = d.z.argmax(axis=1)
    np.fill_diagonal(gaps, 1)
    distances = (np.abs(d.z - d.z.max(axis=1, keepdims=True)) / gaps[best]).sum(axis=1)
    # Theirs adds up where ours takes the mean.
    return -distances / (CLASSES - 1) / np.linalg.norm(d.f - d.f_train.mean(axis=0), axis=1)


def she():
    d = data()
    right = d.z_train.argmax(axis=1) == d.labels
    patterns = np.stack([d.f_train[right & (d.labels == c)].mean(axis=0) for c in range(CLASSES)])
    return -(d.f * patterns[d.z.argmax(axis=1)]).sum(axis=1)


def relation(power):
    d = data()
    edges = np.maximum(unit(d.f) @ unit(d.f_train).T, 0)
    edges = edges * (softmax(d.z, axis=1) @ softmax(d.z_train, axis=1).T)
    # Theirs adds up where ours takes the mean.
    return -(np.where(edges > 0.03, edges, 0) ** power).mean(axis=1)


def dice(percentile):
    d = data()
    contribution = d.f_train.mean(axis=0) * d.w
    kept = d.w * (contribution > np.percentile(contribution, percentile))
    return -logsumexp(d.f @ kept.T + d.b, axis=1)


def residual(dim):
    return out_of_space(data().f, dim)


def vim(dim):
    d = data()
    alpha = d.z_train.max(axis=1).mean() / out_of_space(d.f_train, dim).mean()
    return alpha * out_of_space(d.f, dim) - logsumexp(d.z, axis=1)


def neco(dim, max_logit):
    d = data()
    mean, spread = d.f_train.mean(axis=0), d.f_train.std(axis=0)
    x, x_train = (d.f - mean) / spread, (d.f_train - mean) / spread
    components = np.linalg.svd(x_train, full_matrices=False)[2][:dim]
    share = np.linalg.norm(x @ components.T, axis=1) / np.linalg.norm(x, axis=1)
    return -share * (d.z.max(axis=1) if max_logit else 1)


def knn(k):
    gaps = unit(data().f)[:, None] - unit(data().f_train)
    # Theirs takes the square.
    return np.sort(np.linalg.norm(gaps, axis=2), axis=1)[:, k - 1]


def react(percentile):
    return energy_of(data().f.clip(max=np.percentile(data().f_train, percentile)))


def mahalanobis():
    return _distances().min(axis=1)


def relative_mahalanobis():
    d = data()
    centred = d.f_train - d.f_train.mean(axis=0)
    precision = np.linalg.inv(centred.T @ centred / ROWS)
    away = d.f - d.f_train.mean(axis=0)
    return _distances().min(axis=1) - np.einsum("nd,de,ne->n", away, precision, away)


def _distances():
    d = data()
    means = np.stack([d.f_train[d.labels == c].mean(axis=0) for c in range(CLASSES)])
    centred = d.f_train - means[d.labels]
    precision = np.linalg.inv(centred.T @ centred / ROWS)
    away = d.f[:, None] - means
    return np.einsum("ncd,de,nce->nc", away, precision, away)


def vra(floor_percentile, clip_percentile, gamma):
    d = data()
    low, high = (
        np.quantile(d.f_train, q / 100, axis=0) for q in (floor_percentile, clip_percentile)
    )
    raised = d.f + gamma
    raised = np.where(raised < low + gamma, 0, raised)
    return energy_of(np.where(raised > high + gamma, high, raised))


def pnml():
    d = data()
    rows = np.hstack([np.ones((ROWS, 1)), unit(d.f_train)])
    query = np.hstack([np.ones((TEST_ROWS, 1)), unit(d.f)])
    gram = rows.T @ rows
    inverse = np.linalg.pinv(gram)
    inside = np.einsum("nd,de,ne->n", query, inverse, query)
    outside = np.einsum("nd,de,ne->n", query, np.eye(DIM + 1) - inverse @ gram, query)
    freedom = np.maximum(outside, inside / (1 + inside))[:, None]
    p = softmax(query @ np.hstack([d.b[:, None], d.w]).T, axis=1)
    # Theirs is to the base C.
    return np.log((p / (p + (1 - p) * p**freedom)).sum(axis=1))


def nac(alpha, o_star, edges):
    d = data()
    if edges == "geometric":  # M = 50, that is 25 steps of a logarithm to the base 1000.
        lower = np.log(np.linspace(1, np.sqrt(1e3), 25)) / np.log(1e3)
        marks = np.append(np.concatenate([lower[:-1], (1 - lower)[::-1]]), 1.2)
        marks[-2] += 0.01
    else:
        marks = np.append(np.linspace(0, 1, 50)[:-1], 1.01)

    def inside(f, z):
        gradient = (softmax(z, axis=1) - 1 / CLASSES) @ d.w
        states = expit(alpha * f * gradient)
        return (states[:, None] >= marks[:-1, None]) & (states[:, None] < marks[1:, None])

    covered = np.minimum(inside(d.f_train, d.z_train).sum(axis=0) / (o_star * ROWS), 1)
    return -(inside(d.f, d.z) * covered).sum(axis=1).mean(axis=1)


def t_norm(halved):
    d = data()
    weight = d.w / (np.linalg.norm(d.w, axis=1, keepdims=True) * (2 if halved else 1))
    # Theirs scores the halved logits; a temperature also multiplies the energy by itself.
    return -logsumexp(d.f @ weight.T, axis=1) * (2 if halved else 1)


def temperature_scaling():
    d = data()

    def loss(inverse):
        return -log_softmax(d.z_train * inverse, axis=1)[np.arange(ROWS), d.labels].mean()

    best = minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-9}).x
    p = softmax(d.z * best, axis=1).max(axis=1)
    # Theirs is MSP, of which ours is an increasing map.
    return np.log((1 - p) / p)


#: Method, its settings, the formula and what this takes.
CASES = [
    *(("ash", {"variant": "p", "percentile": p}, ash_p, (p,)) for p in (65.0, 90.0, 95.0)),
    # Every row has more activations than stay at 75: of fewer, theirs raises any of the zeros.
    *(("ash", {"variant": "b", "percentile": p}, ash_b, (p,)) for p in (75.0, 90.0, 95.0)),
    *(("ash", {"variant": "s", "percentile": p}, ash_s, (p,)) for p in (65.0, 90.0, 95.0)),
    *(("scale", {"percentile": p}, scale, (p,)) for p in (65.0, 85.0, 95.0)),
    *(("lts", {"percentile": p}, lts, (p,)) for p in (85.0, 90.0, 95.0)),
    ("gen", {"gamma": 0.1, "k": 3}, gen, (0.1, 3)),
    ("gen", {}, gen, (0.1, 100)),
    ("entropy", {}, entropy, ()),
    ("kl_matching", {}, kl_matching, ()),
    ("nnguide", {}, nnguide, (10,)),
    ("nci", {}, nci, (1e-4,)),
    ("fdbd", {}, fdbd, ()),
    ("she", {}, she, ()),
    ("relation", {}, relation, (1,)),
    ("relation", {"power": 4.0}, relation, (4,)),
    ("dice", {"percentile": 70.0}, dice, (70,)),
    ("residual", {"dim": 12}, residual, (12,)),
    ("vim", {"dim": 12}, vim, (12,)),
    ("neco", {"dim": 9}, neco, (9, True)),
    ("neco", {"dim": 9, "max_logit": False}, neco, (9, False)),
    ("knn", {"k": 5}, knn, (5,)),
    ("react", {"percentile": 90.0}, react, (90,)),
    ("mahalanobis", {}, mahalanobis, ()),
    ("relative_mahalanobis", {}, relative_mahalanobis, ()),
    ("vra", {}, vra, (60, 90, 0)),
    ("vra", {"clip_percentile": 95.0, "gamma": 0.6}, vra, (60, 95, 0.6)),
    ("pnml", {}, pnml, ()),
    ("nac", {}, nac, (100, 0.05, "geometric")),
    ("nac", {"bins": 49, "edges": "uniform"}, nac, (100, 0.05, "uniform")),
    ("nac", {"alpha": 3000.0, "o_star": 0.01}, nac, (3000, 0.01, "geometric")),
    ("t_norm", {}, t_norm, (False,)),
    ("t_norm", {"temperature": 2.0}, t_norm, (True,)),
    ("temperature_scaling", {}, temperature_scaling, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "settings", "formula", "arguments"),
    CASES,
    ids=["-".join([formula.__name__, *map(str, given)]) for _, _, formula, given in CASES],
)
def test_scores_are_those_of_the_published_formula(method, settings, formula, arguments):
    wanted = formula(*arguments)
    got = ours(method, **settings)
    # Largest against the spread of the scores: some are small differences of large numbers.
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5 * wanted.std())
