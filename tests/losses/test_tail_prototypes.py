import math

import numpy as np
import pytest
import torch

from ltood.losses.tail_prototypes import tail_prototype_loss


def unit(row, parts):
    size = len(row) // parts
    found = []
    for part in range(parts):
        values = row[part * size : (part + 1) * size]
        length = math.sqrt(sum(value * value for value in values))
        found += [value / length for value in values]
    return found


def slow(rows, labels, prototypes, outliers, temperature, parts):
    """One row and one similarity at a time."""
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        others = [*prototypes, *outliers]
        similar = [
            sum(a * b for a, b in zip(unit(row, parts), unit(other, parts), strict=True))
            for other in others
        ]
        powers = [math.exp(value / temperature) for value in similar]
        total -= math.log(powers[label] / sum(powers))
    return total / len(rows)


@pytest.mark.parametrize("parts", [1, 2])
def test_equals_one_row_at_a_time(rng, parts):
    rows, outliers, prototypes = (rng.normal(size=(num, 6)) for num in (5, 7, 3))
    labels = [0, 2, 2, 1, 0]
    found = tail_prototype_loss(
        torch.tensor(rows),
        torch.tensor(labels),
        torch.tensor(prototypes),
        torch.tensor(outliers),
        temperature=0.3,
        parts=parts,
    )
    given = (rows.tolist(), labels, prototypes.tolist(), outliers.tolist())
    assert found.item() == pytest.approx(slow(*given, 0.3, parts), rel=1e-10)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients(rng, parts):
    rows, outliers, prototypes = (
        torch.tensor(rng.normal(size=(num, 4)), requires_grad=True) for num in (3, 2, 2)
    )
    labels = torch.tensor([1, 0, 1])
    assert torch.autograd.gradcheck(
        lambda a, b, c: tail_prototype_loss(a, labels, b, c, temperature=0.5, parts=parts),
        (rows, prototypes, outliers),
    )


def test_without_rows_it_is_zero_and_part_of_the_graph():
    prototypes, outliers = torch.randn(2, 4, requires_grad=True), torch.randn(3, 4)
    loss = tail_prototype_loss(
        torch.empty(0, 4),
        torch.empty(0, dtype=torch.int64),
        prototypes,
        outliers,
        temperature=0.07,
    )
    loss.backward()
    assert loss.item() == 0
    assert not prototypes.grad.any()


def test_mixed_precision_computes_in_float32():
    given = [torch.randn(num, 8) for num in (4, 3, 2)]
    labels = torch.tensor([0, 1, 2, 0])
    full = tail_prototype_loss(given[0], labels, given[1], given[2], temperature=0.07)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = tail_prototype_loss(given[0], labels, given[1], given[2], temperature=0.07)
    np.testing.assert_allclose(mixed.item(), full.item(), rtol=1e-6)
