import math

import numpy as np
import pytest
import torch

from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy


def reference(logits, labels, counts, tau, temperature):
    """Equation 10, one row and one class at a time."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        shifted = [
            value / temperature + tau * math.log(count / sum(counts))
            for value, count in zip(row, counts, strict=True)
        ]
        total += math.log(sum(math.exp(value - shifted[label]) for value in shifted))
    return total / len(labels)


@pytest.mark.parametrize(("tau", "temperature"), [(1.0, 1.0), (0.5, 1.0), (0.0, 1.0), (2.0, 0.7)])
def test_equals_the_equation(rng, tau, temperature):
    logits, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    counts = [100, 31, 10, 3]
    found = logit_adjusted_cross_entropy(
        torch.tensor(logits),
        torch.tensor(labels),
        log_prior=torch.tensor(np.log(np.array(counts) / sum(counts))),
        tau=tau,
        temperature=temperature,
    )
    expected = reference(logits.tolist(), labels.tolist(), counts, tau, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_rare_classes_are_pushed_harder():
    logits = torch.zeros(2, 2, requires_grad=True)
    log_prior = torch.tensor([0.9, 0.1]).log()
    loss = logit_adjusted_cross_entropy(logits, torch.tensor([0, 1]), log_prior=log_prior)
    loss.backward()
    pull = -logits.grad.diagonal()
    assert pull[1] > 5 * pull[0] > 0
