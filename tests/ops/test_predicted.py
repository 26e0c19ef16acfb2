import numpy as np
import pytest
import torch
from pooled_samples import made
from reference import caref as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.predicted import class_means, predicted_statistics


def test_counts_and_sums_are_those_of_the_predictions(rng):
    case = made(rng)
    found = predicted_statistics(case.inputs())
    assert (case.predictions != case.labels).any()
    assert np.array_equal(found.counts, np.bincount(case.predictions, minlength=3))
    for c in range(3):
        own = case.train[case.predictions == c].astype(np.float64)
        np.testing.assert_allclose(found.sums[c], own.sum(axis=0))


@pytest.mark.parametrize("means", ["predicted", "label"])
def test_a_class_without_rows_of_its_own_takes_the_others(rng, means):
    case = made(rng, counts=(30, 20, 0, 10, 0))
    case.bias[:] = (0, 0, 50, -100, -100)  # all are predicted as the class without labels
    expected = reference.means(case.train, case.labels, case.weight, case.bias, means)
    got = class_means(case.inputs(), means)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(got[4], case.train.mean(axis=0), rtol=1e-5)


def test_no_rows_are_refused():
    train = TensorSource(FeatureBatch.of(torch.zeros(0, 3), torch.zeros(0, 2)), 2)
    with pytest.raises(DataError, match="the training split has no rows"):
        predicted_statistics(FitInputs(train))
