import math

import pytest
import torch

from ltood.losses.outlier_margin import outlier_margin_loss


def distance(one, other):
    # PyTorch adds 1e-6 to each difference, which keeps the gradient at 0 finite.
    return math.sqrt(sum((a - b + 1e-6) ** 2 for a, b in zip(one, other, strict=True)))


def drawn(num, among, seed):
    return torch.randint(among, (num,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("margin", [0.5, 1.0, 4.0])
def test_equals_one_outlier_at_a_time(rng, margin):
    outliers, rows = rng.normal(size=(6, 3)).tolist(), rng.normal(size=(4, 3)).tolist()
    total = 0.0
    for outlier, negative in zip(outliers, drawn(6, 4, seed=5), strict=True):
        farthest = max(distance(outlier, other) for other in outliers)
        total += max(0.0, farthest - distance(outlier, rows[negative]) + margin)
    found = outlier_margin_loss(
        torch.tensor(outliers, dtype=torch.float64),
        torch.tensor(rows, dtype=torch.float64),
        margin=margin,
        generator=torch.Generator().manual_seed(5),
    )
    # Which of two is the farthest does not depend on what is added to their differences.
    assert found.item() == pytest.approx(total / 6, rel=1e-5)


def test_gradients(rng):
    outliers, rows = (torch.tensor(rng.normal(size=(num, 3)), requires_grad=True) for num in (4, 3))
    assert torch.autograd.gradcheck(
        lambda a, b: outlier_margin_loss(
            a, b, margin=1.0, generator=torch.Generator().manual_seed(2)
        ),
        (outliers, rows),
    )


def test_without_rows_of_the_head_it_is_zero_and_part_of_the_graph():
    outliers, rows = torch.randn(3, 4, requires_grad=True), torch.empty(0, 4, requires_grad=True)
    loss = outlier_margin_loss(outliers, rows, margin=1.0, generator=torch.Generator())
    loss.backward()
    assert loss.item() == 0
    assert not outliers.grad.any()


def test_one_outlier_alone_has_finite_gradients():
    outliers, rows = torch.ones(1, 4, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    loss = outlier_margin_loss(outliers, rows, margin=1.0, generator=torch.Generator())
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert outliers.grad.isfinite().all()
    assert rows.grad.isfinite().all()
