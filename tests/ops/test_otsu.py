import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.label_streams import otsu

from ltood.ops.otsu import otsu_threshold


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30))
def test_it_leaves_the_least_variance(values):
    def within(cut):
        upper = [value for value in values if value >= cut]
        lower = [value for value in values if value < cut]
        if not upper or not lower:
            return np.inf
        return len(upper) * np.var(upper) + len(lower) * np.var(lower)

    found, expected = otsu_threshold(torch.tensor(values)), otsu(values)
    assert within(found) <= within(expected) + 1e-9
    if np.isinf(within(expected)):
        assert found == expected == 0.5


def test_two_heaps_are_cut_in_the_middle():
    values = torch.tensor([0.1] * 5 + [0.105] * 5 + [0.9] * 3)
    assert abs(otsu_threshold(values) - 0.5) <= 0.01
