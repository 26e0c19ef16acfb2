import math

import pytest
import torch

from ltood.losses.virtual_labels import virtual_label_loss


def test_equals_one_outlier_at_a_time(rng):
    outputs = rng.normal(size=(7, 5)) * 2
    total = 0.0
    for row in outputs.tolist():
        powers = [math.exp(value) for value in row]
        total -= math.log(max(powers[3:]) / sum(powers))
    found = virtual_label_loss(torch.tensor(outputs), 3)
    assert found.item() == pytest.approx(total / 7, rel=1e-12)


def test_one_class_of_outliers_is_plain_cross_entropy(rng):
    outputs = torch.tensor(rng.normal(size=(4, 3)))
    plain = torch.nn.functional.cross_entropy(outputs, torch.full((4,), 2))
    assert torch.equal(virtual_label_loss(outputs, 2), plain)


def test_gradients(rng):
    outputs = torch.tensor(rng.normal(size=(4, 5)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows: virtual_label_loss(rows, 2), (outputs,))
