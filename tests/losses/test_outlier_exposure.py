import math

import pytest
import torch
from conftest import load_golden

from ltood.losses.outlier_exposure import uniform_cross_entropy


def test_value_and_gradient_are_the_published_ones():
    golden = load_golden("losses")
    logits = torch.tensor(golden["cls_ood_logits"], requires_grad=True)
    loss = uniform_cross_entropy(logits)
    loss.backward()
    assert loss.item() == pytest.approx(golden["oe_loss_f64"].item(), rel=1e-9)
    torch.testing.assert_close(logits.grad, torch.tensor(golden["oe_grad_f64"]), rtol=1e-9, atol=0)


def test_equals_one_row_and_class_at_a_time(rng):
    logits = rng.normal(size=(9, 4)) * 3
    total = 0.0
    for row in logits.tolist():
        partition = math.log(sum(math.exp(value) for value in row))
        total += sum(partition - value for value in row) / len(row)
    found = uniform_cross_entropy(torch.tensor(logits))
    assert found.item() == pytest.approx(total / 9, rel=1e-12)


def test_equal_logits_are_best():
    assert uniform_cross_entropy(torch.zeros(2, 5)).item() == pytest.approx(math.log(5))
    assert uniform_cross_entropy(torch.tensor([[300.0, -300.0]])).item() == pytest.approx(300)
