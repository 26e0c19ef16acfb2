import math

import pytest
import torch

from ltood.losses.energy_margin import energy_margin_loss


def hinge(rows, margin, sign):
    """Mean squared excess of sign * energy over sign * margin, one row at a time."""
    total = 0.0
    for row in rows:
        energy = -math.log(sum(math.exp(value) for value in row))
        total += max(0.0, sign * (energy - margin)) ** 2
    return total / len(rows)


@pytest.mark.parametrize(("margin_in", "margin_out"), [(-23.0, -5.0), (-4.0, -3.0), (-2.0, -4.0)])
def test_equals_one_row_at_a_time(rng, margin_in, margin_out):
    id_logits, aux_logits = rng.normal(size=(9, 4)) * 3, rng.normal(size=(7, 4)) * 3
    found = energy_margin_loss(
        torch.tensor(id_logits),
        torch.tensor(aux_logits),
        margin_in=margin_in,
        margin_out=margin_out,
    )
    expected = hinge(id_logits.tolist(), margin_in, 1) + hinge(aux_logits.tolist(), margin_out, -1)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_rows_beyond_their_margin_cost_nothing():
    def loss(value_in, value_out):
        rows = [torch.tensor([[value, -90.0]]) for value in (value_in, value_out)]
        return energy_margin_loss(*rows, margin_in=-23.0, margin_out=-5.0).item()

    assert loss(24.0, 4.0) == 0
    assert loss(22.0, 4.0) == pytest.approx(1)
    assert loss(24.0, 7.0) == pytest.approx(4)
