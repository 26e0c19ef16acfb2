import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.ops import products
from ltood.ops.products import product_percentile, strict_bounds
from ltood.ops.shaping import overall_percentile

#: Few different numbers, so that products tie and lie on thresholds.
FACTORS = st.sampled_from([0.0, 1e-40, 0.1, 0.3, 1.0, 7.0, 1e30])
WEIGHTS = st.sampled_from([-1e20, -2.5, -0.1, -1e-30, 0.0, 1e-30, 0.3, 1.7, 1e20])


@pytest.mark.parametrize("selected", [1, 5, 8192])
@settings(max_examples=40)
@given(data=st.data(), dim=st.integers(1, 6), classes=st.integers(1, 7), percent=st.floats(0, 100))
def test_a_percentile_of_products_needs_not_all_of_them(selected, data, dim, classes, percent):
    factors = torch.tensor([data.draw(FACTORS) for _ in range(dim)], dtype=torch.float64)
    weight = torch.tensor([[data.draw(WEIGHTS) for _ in range(dim)] for _ in range(classes)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "SELECTED", selected)
        got = product_percentile(
            factors, weight.T.double().sort(dim=1).values.contiguous(), percent
        )
    contributions = factors * weight
    assert got == overall_percentile(contributions, percent)
    assert torch.equal(weight > strict_bounds(factors, got), contributions > got)
