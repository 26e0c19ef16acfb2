import math

import pytest
import torch

from ltood.losses.binary_discrimination import binary_discrimination_loss


def test_equals_one_row_at_a_time(rng):
    id_node, aux_node = rng.normal(size=9) * 3, rng.normal(size=4) * 3
    total = sum(math.log(1 + math.exp(-g)) for g in id_node)
    total += sum(math.log(1 + math.exp(g)) for g in aux_node)
    found = binary_discrimination_loss(torch.tensor(id_node), torch.tensor(aux_node))
    assert found.item() == pytest.approx(total / 13, rel=1e-12)


def test_a_high_node_says_id_and_extremes_stay_finite():
    far = torch.tensor([500.0])
    assert binary_discrimination_loss(far, -far).item() == 0
    assert binary_discrimination_loss(-far, far).item() == pytest.approx(500)
