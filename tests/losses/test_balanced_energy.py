import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.losses.balanced_energy import balanced_energy_loss, log_expected_share
from ltood.losses.energy_margin import energy_margin_loss


def slow(id_logits, aux_logits, margins, lift, lift_shares, weight_shares):
    """The published loss, one row at a time."""
    inner = 0.0
    for row in id_logits:
        energy = -math.log(sum(math.exp(value) for value in row))
        inner += max(0.0, energy - margins[0]) ** 2
    outer = total = 0.0
    for row in aux_logits:
        powers = [math.exp(value) for value in row]
        softmax = [value / sum(powers) for value in powers]
        first = sum(a * b for a, b in zip(lift_shares, softmax, strict=True))
        second = sum(a * b for a, b in zip(weight_shares, softmax, strict=True))
        energy = -math.log(sum(powers)) - lift * first
        outer += second * max(0.0, margins[1] - energy) ** 2
        total += second
    return inner / len(id_logits) + outer / total


def ours(id_logits, aux_logits, margins, lift, lift_shares, weight_shares):
    return balanced_energy_loss(
        id_logits,
        aux_logits,
        margin_in=margins[0],
        margin_out=margins[1],
        lift=lift * log_expected_share(aux_logits, torch.tensor(lift_shares).log()).exp(),
        log_weights=log_expected_share(aux_logits, torch.tensor(weight_shares).log()),
    )


@pytest.mark.parametrize("lift", [0.0, 10.0])
@pytest.mark.parametrize("margins", [(-23.0, -5.0), (-3.0, -1.0)])
def test_equals_one_row_at_a_time(rng, lift, margins):
    id_logits, aux_logits = rng.normal(size=(9, 4)) * 3, rng.normal(size=(7, 4)) * 3
    one, two = np.array([0.6, 0.3, 0.1, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
    expected = slow(id_logits.tolist(), aux_logits.tolist(), margins, lift, one, two)
    found = ours(torch.tensor(id_logits), torch.tensor(aux_logits), margins, lift, one, two)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_gradients(rng):
    id_logits, aux_logits = (
        torch.tensor(rng.normal(size=(num, 3)), requires_grad=True) for num in (3, 4)
    )
    shares = np.array([0.7, 0.3, 0.0])
    assert torch.autograd.gradcheck(
        lambda a, b: ours(a, b, (-3.0, -1.0), 5.0, shares, shares), (id_logits, aux_logits)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_equal_shares_without_a_lift_are_the_plain_hinges(num_classes, seed):
    rng = torch.Generator().manual_seed(seed)
    id_logits, aux_logits = (
        4 * torch.randn(num, num_classes, generator=rng, dtype=torch.float64) for num in (5, 6)
    )
    shares = np.full(num_classes, 1 / num_classes)
    found = ours(id_logits, aux_logits, (-4.0, -1.0), 0.0, shares, shares)
    plain = energy_margin_loss(id_logits, aux_logits, margin_in=-4.0, margin_out=-1.0)
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)


def test_outliers_certain_of_a_class_that_outliers_never_take_divide_by_nothing():
    aux_logits = torch.tensor([[0.0, 900.0], [0.0, 800.0]], requires_grad=True)
    shares = np.array([1.0, 0.0], dtype=np.float32)
    loss = ours(torch.zeros(2, 2), aux_logits, (-3.0, -1.0), 5.0, shares, shares)
    loss.backward()
    assert loss.isfinite()
    assert aux_logits.grad.isfinite().all()
