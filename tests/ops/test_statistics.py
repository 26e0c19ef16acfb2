import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.ops import statistics
from ltood.ops.statistics import (
    Activations,
    activations,
    class_statistics,
    row_percentile,
)


def inputs_of(features, labels=None, num_classes=2):
    features = torch.as_tensor(features)
    labels = torch.zeros(len(features), dtype=torch.int64) if labels is None else labels
    return FitInputs.of(
        features,
        torch.as_tensor(labels),
        num_classes=num_classes,
        prior=ClassPrior.uniform(num_classes),
    )


def test_class_statistics(rng):
    features = rng.normal(size=(9000, 5)).astype(np.float32)  # more than one batch
    labels = rng.integers(0, 3, size=9000)
    classes = class_statistics(inputs_of(features, labels, num_classes=4))
    assert classes.counts.tolist() == [*np.bincount(labels), 0]
    assert classes.present.tolist() == [True, True, True, False]
    assert classes.num_rows == 9000
    for c in range(3):
        own = features[labels == c].astype(np.float64)
        np.testing.assert_allclose(classes.means[c], own.mean(axis=0), rtol=1e-10)
    assert not classes.means[3].any()
    np.testing.assert_allclose(classes.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-10)


def test_statistics_are_computed_once():
    inputs = inputs_of(torch.rand(4, 2))
    assert class_statistics(inputs) is class_statistics(inputs)
    assert class_statistics(inputs) is not class_statistics(inputs, normalise=True)
    assert activations(inputs) is activations(inputs)


def test_normalised_statistics():
    classes = class_statistics(inputs_of([[3.0, 4.0], [0.0, 0.0]]), normalise=True)
    assert classes.sums[0].tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_must_be_classes(label):
    with pytest.raises(DataError, match=f"holds the label {label}; labels .* are 0 to 1"):
        class_statistics(
            FitInputs(
                TensorSource(FeatureBatch.of(torch.rand(2, 3), labels=torch.tensor([0, label])), 2)
            )
        )


def test_rows_are_needed():
    for gather in (class_statistics, activations):
        with pytest.raises(DataError, match="training split has no rows"):
            gather(inputs_of(torch.zeros(0, 3)))
        with pytest.raises(MissingNeedError, match="fit needs training features"):
            gather(FitInputs())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.floats(0, 100))
def test_percentiles_equal_numpy(values, percent):
    found = activations(inputs_of(np.array(values, np.float32)[:, None]))
    expected = np.percentile(np.array(values, np.float64), percent)
    assert found.percentile(percent) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=40),
    st.lists(st.floats(0, 100), min_size=1, max_size=9),
)
def test_percentiles_do_not_depend_on_those_asked_before(values, percents):
    found = activations(inputs_of(np.array(values, np.float32)[:, None]))
    expected = np.percentile(np.array(values, np.float64), percents)
    again = [found.percentile(percent) for percent in percents]
    assert again == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("percent", [0, 1, 30, 50, 90, 98, 99.9, 100])
def test_the_histogram_keeps_its_promise(rng, monkeypatch, percent):
    values = np.maximum(rng.normal(size=(20000, 3)) * rng.lognormal(size=3), -0.5)
    values = values.astype(np.float32)
    exact = np.percentile(values.astype(np.float64), percent)
    monkeypatch.setattr(statistics, "EXACT_VALUES", 1000)
    found = activations(inputs_of(values))
    assert found.values is None
    assert int(found.histogram.sum()) == values.size
    assert found.percentile(percent) == pytest.approx(exact, rel=2**-11, abs=2e-3)


def test_the_histogram_tells_zeros_and_signs_apart(monkeypatch):
    monkeypatch.setattr(statistics, "EXACT_VALUES", 0)
    values = torch.tensor([-2.0, -0.0, 0.0, 0.0, 3.0])
    found = activations(inputs_of(values[:, None]))
    expected = [-2.0, 0.0, 0.0, 0.0, 3.0]
    for rank, value in enumerate(expected):
        assert found.percentile(25.0 * rank) == pytest.approx(value, rel=2**-11, abs=1e-30)


def test_more_rows_only_add_to_the_histogram(monkeypatch):
    monkeypatch.setattr(statistics, "EXACT_VALUES", 0)
    values = torch.rand(9000, 2)
    parts = [activations(inputs_of(part)).histogram for part in (values[:5000], values[5000:])]
    assert torch.equal(parts[0] + parts[1], activations(inputs_of(values)).histogram)


def test_a_single_value_is_every_percentile():
    found = Activations(torch.tensor([1.5]))
    assert {found.percentile(p) for p in (0, 50, 100)} == {1.5}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.floats(0, 100), st.integers(0, 2**16))
def test_row_percentiles_equal_numpy_bit_for_bit(dim, percent, seed):
    rows = np.random.default_rng(seed).normal(size=(3, dim)).astype(np.float32)
    expected = np.percentile(rows, percent, axis=1)
    assert expected.dtype == np.float32
    found = row_percentile(torch.tensor(rows), percent)
    if np.lib.NumpyVersion(np.__version__) >= "2.4.1":
        assert np.array_equal(found, expected)
    else:  # NumPy rounded otherwise then.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
