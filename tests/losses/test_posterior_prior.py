import math

import numpy as np
import pytest
import torch
from conftest import load_golden

from ltood.losses.posterior_prior import (
    balanced_discrimination_loss,
    gamma_loss,
    log_beta,
    log_delta,
    smoothed_labels,
)


@pytest.fixture(scope="module")
def golden():
    return {**load_golden("losses"), **load_golden("imood_training")}


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def by_hand(gammas, posteriors, priors, nodes, flags):
    """Both losses in plain probabilities, one row at a time."""
    hinge = entropy = 0.0
    for gamma, posterior, g, is_id in zip(gammas, posteriors, nodes, flags, strict=True):
        ratios = [max(c, 1e-4) * q / p for c, q, p in zip(gamma, posterior, priors, strict=True)]
        beta = sum(ratios) / len(ratios)
        sigmoid = 1 / (1 + math.exp(-g))
        hinge += max(0.0, math.log(beta * sigmoid))
        delta = min(max(beta + (beta - 1) * math.exp(g), 0.1), 10.0)
        delta = max(delta, 1.0) if is_id else min(delta, 1.0)
        wrong = math.exp(g) / delta if not is_id else delta / math.exp(g)
        entropy += math.log(1 + wrong)
    return hinge / len(nodes), entropy / len(nodes)


def test_losses_equal_one_row_at_a_time(rng):
    raw = rng.normal(size=(12, 4)) * 2
    raw[0, 0] = -20.0  # below the least gamma
    posteriors = rng.dirichlet(np.ones(4), size=12)
    priors = np.array([0.6, 0.25, 0.1, 0.05])
    nodes = rng.normal(size=12) * 2
    betas = log_beta(double(raw), double(posteriors).log(), double(priors).log())
    g = double(nodes)
    flags = [True] * 7 + [False] * 5
    hinge, entropy = by_hand(np.exp(raw), posteriors, priors, nodes, flags)
    assert gamma_loss(betas, g).item() == pytest.approx(hinge, rel=1e-12)
    found = balanced_discrimination_loss(g[:7], g[7:], betas[:7], betas[7:])
    assert found.item() == pytest.approx(entropy, rel=1e-12)


@pytest.mark.parametrize("base", ["bin_disc", "energy", "oe", "maha"])
def test_beta_and_delta_are_the_published_ones(golden, base):
    rows, labels = double(golden["train_feats"]), torch.tensor(golden["train_labels"]).repeat(2)
    raw = rows @ double(golden["lambda_W"]).T + double(golden["lambda_b"])
    logits = rows[48:] @ double(golden["W_in"]).T + double(golden["b_in"])
    posterior = torch.cat([smoothed_labels(labels, 7, torch.float64), logits.log_softmax(dim=1)])
    shares = double(golden["class_counts"] / golden["class_counts"].sum())
    betas = log_beta(raw, posterior, shares.log())
    expected = golden[f"f64_train_ada_{base}_none_beta"]
    np.testing.assert_allclose(betas.exp(), expected, rtol=1e-8)
    g = double(golden[f"f64_train_ada_{base}_none_g"])
    deltas = torch.cat(
        [log_delta(betas[:48], g[:48], is_id=True), log_delta(betas[48:], g[48:], is_id=False)]
    )
    expected = golden[f"f64_train_ada_{base}_none_logdelta"]
    np.testing.assert_allclose(deltas, expected, rtol=1e-8)


def test_gradients_go_where_they_are_meant_to():
    betas = torch.tensor([0.5, 1.5], requires_grad=True)
    nodes = torch.tensor([3.0, 4.0], requires_grad=True)
    gamma_loss(betas, nodes).backward()
    assert betas.grad.all()
    assert nodes.grad is None
    betas.grad = None
    balanced_discrimination_loss(nodes[:1], nodes[1:], betas[:1], betas[1:]).backward()
    assert nodes.grad.all()
    assert betas.grad is None


@pytest.mark.parametrize("g", [-500.0, 0.0, 500.0])
@pytest.mark.parametrize("raw", [-500.0, 0.0, 500.0])
def test_extremes_stay_finite(g, raw):
    raw_gamma = torch.full((2, 3), raw, requires_grad=True)
    uniform = torch.full((2, 3), 1 / 3).log()
    nodes = torch.full((2,), g, requires_grad=True)
    betas = log_beta(raw_gamma, uniform, uniform[0])
    hinge = gamma_loss(betas, nodes)
    total = hinge + balanced_discrimination_loss(nodes[:1], nodes[1:], betas[:1], betas[1:])
    total.backward()
    assert math.isfinite(total.item())
    assert torch.isfinite(raw_gamma.grad).all()
    assert torch.isfinite(nodes.grad).all()


def test_beta_one_changes_nothing():
    nodes = torch.tensor([-3.0, 0.0, 200.0])
    zeros = torch.zeros(3)
    for is_id in (True, False):
        assert torch.equal(log_delta(zeros, nodes, is_id=is_id), zeros)
