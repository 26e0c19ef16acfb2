import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.errors import MissingNeedError
from ltood.core.inputs import FitInputs
from ltood.ops.shaping import (
    LARGEST_EXPONENT,
    clip_above,
    clip_ceiling,
    contributing,
    keep_largest,
    mass_ratio,
    number_kept,
    overall_percentile,
    prototype_cosine,
    sharpness_scale,
)


def test_clipping_makes_a_new_tensor():
    features = torch.tensor([[-5.0, 0.5, 2.0]])
    assert clip_above(features, 1.0).tolist() == [[-5.0, 0.5, 1.0]]
    assert clip_above(features, torch.tensor(math.inf)).tolist() == features.tolist()
    assert features[0, 2] == 2


def test_a_ceiling_comes_from_the_setting():
    inputs = FitInputs.of(torch.arange(101.0)[:, None], torch.zeros(101, dtype=torch.int64))
    assert clip_ceiling(1.5, 98.0, FitInputs()) == 1.5
    assert clip_ceiling(None, 98.0, FitInputs()) == math.inf
    assert clip_ceiling("auto", 98.0, inputs) == pytest.approx(98.0)
    with pytest.raises(MissingNeedError, match="fit needs training features"):
        clip_ceiling("auto", 98.0, FitInputs())


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([-2.0, 0.0, 0.1, 1 / 3, 7.5, 1e9]), min_size=1, max_size=40),
    st.one_of(st.integers(0, 100), st.floats(0, 100)),
)
def test_overall_percentile_equals_numpy(values, percent):
    rows = torch.tensor(values, dtype=torch.float64)
    assert overall_percentile(rows, percent).item() == np.percentile(values, percent)


def test_contributions_are_compared_over_the_whole_head():
    weight = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    mean = torch.tensor([2.0, 1.0], dtype=torch.float64)
    assert contributing(weight, mean, 50.0).tolist() == [[True, True], [False, False]]
    assert contributing(weight, mean, 0.0).sum() == 3
    assert contributing(weight, mean, 100.0).sum() == 0


def test_the_largest_of_each_row_are_kept():
    features = torch.tensor([[1.0, 4.0, 3.0, 2.0], [5.0, 5.0, -1.0, 0.0]])
    before = features.clone()
    assert keep_largest(features, 50.0).tolist() == [[0, 4, 3, 0], [5, 5, 0, 0]]
    assert keep_largest(features, 0.0).tolist() == features.tolist()
    assert keep_largest(features, 100.0).tolist() == [[0, 4, 0, 0], [5, 5, 0, 0]]
    assert torch.equal(features, before)


def test_mass_ratio():
    features = torch.tensor([[1.0, 4.0, 3.0, 2.0], [-5.0, 3.0, 1.0, 2.0]])
    assert mass_ratio(features, 50.0).tolist() == pytest.approx([10 / 7, 6 / 5])
    for scale in (1e-44, 1e-30, 1e30, 6e37):
        assert mass_ratio(features * scale, 50.0)[0].item() == pytest.approx(10 / 7, rel=0.1)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40).flatmap(
        lambda dim: st.lists(st.integers(0, 9).map(float), min_size=dim, max_size=dim)
    ),
    st.one_of(st.integers(0, 100), st.floats(0, 100)),
)
def test_as_many_count_as_in_the_code_of_the_authors(values, percentile):
    row = torch.tensor([values])
    # They leave none where all are dropped, which divides by zero.
    number = max(1, row.shape[1] - int(np.round(row.shape[1] * percentile / 100.0)))
    assert number_kept(row.shape[1], percentile) == number
    largest = torch.topk(row, number, dim=1).values
    assert int((keep_largest(row, percentile) != 0).sum()) == int((row >= largest.min()).sum()) - (
        int((row == 0).sum()) if largest.min() == 0 else 0
    )
    if largest.sum() > 0:
        ratio = mass_ratio(row, percentile).item()
        assert ratio == pytest.approx((row.sum() / largest.sum()).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("width", "percentile", "number"),
    [(342, 90, 34), (512, 90, 51), (2048, 85, 307), (2048, 95, 102), (64, 90, 6), (4, 12.5, 4)],
)
def test_numbers_of_known_widths(width, percentile, number):
    assert number_kept(width, percentile) == number


def test_rows_without_mass_keep_their_scale():
    empty = torch.tensor([[0.0, 0.0, 0.0], [-1.0, -2.0, 0.0]])
    assert mass_ratio(empty, 90.0).tolist() == [1.0, 1.0]


def test_the_scale_stays_finite():
    flat = torch.ones(1, 512) + torch.arange(512) * 1e-4
    assert mass_ratio(flat, 99.9)[0] > LARGEST_EXPONENT
    assert sharpness_scale(flat, 99.9).item() == pytest.approx(np.exp(LARGEST_EXPONENT), rel=1e-5)
    assert sharpness_scale(flat, 0.0, 1.0).item() == pytest.approx(1.0)


def test_cosine_to_the_prototype():
    features = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    prototypes = torch.tensor([[6.0, 8.0], [0.0, 2.0], [1.0, 1.0]])
    assert prototype_cosine(features, prototypes).tolist() == pytest.approx([1.0, 0.0, 0.0])
