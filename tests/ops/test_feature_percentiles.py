import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.inputs import FitInputs
from ltood.ops import feature_percentiles as module
from ltood.ops.feature_percentiles import feature_percentiles

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1 / 3, -2.0, 1e-40, -1e-40, 3e38, -3e38]),
    st.floats(-10, 10, width=32),
)


def inputs_of(rows):
    return FitInputs(TensorSource(FeatureBatch.of(torch.tensor(rows)), 2))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda dim: st.lists(st.lists(VALUES, min_size=dim, max_size=dim), min_size=1, max_size=30)
    ),
    st.lists(st.one_of(st.integers(0, 100), st.floats(0, 100)), min_size=1, max_size=3),
    st.booleans(),
)
def test_percentiles_equal_numpy_held_or_counted(rows, percents, are_held):
    rows = np.array(rows, dtype=np.float32)
    wanted = np.percentile(rows.astype(np.float64), percents, axis=0).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXACT_VALUES", 2**26 if are_held else 0)
        patch.setattr(module, "COUNTED_VALUES", 7)
        found = feature_percentiles(inputs_of(rows), tuple(map(float, percents)))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-44)


def test_counting_gives_the_very_values_that_sorting_gives(rng, monkeypatch):
    rows = rng.normal(size=(5000, 17)).astype(np.float32).clip(min=-0.5)
    percents = (0.0, 12.5, 60.0, 90.0, 100.0)
    held = feature_percentiles(inputs_of(rows), percents)
    monkeypatch.setattr(module, "EXACT_VALUES", 0)
    assert torch.equal(feature_percentiles(inputs_of(rows), percents), held)


def test_they_are_found_once(rng, monkeypatch):
    inputs = inputs_of(rng.normal(size=(9, 3)).astype(np.float32))
    first = feature_percentiles(inputs, (50.0,))
    monkeypatch.setattr(module, "_found", None)
    assert feature_percentiles(inputs, (50.0,)) is first


def test_rows_are_needed():
    with pytest.raises(MissingNeedError):
        feature_percentiles(FitInputs(), (50.0,))
    with pytest.raises(DataError):
        feature_percentiles(inputs_of(np.zeros((0, 3), np.float32)), (50.0,))
