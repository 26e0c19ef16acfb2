import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pooled_samples import made, scored
from reference import caref as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.caref import CARef, Config


@pytest.mark.parametrize("means", ["predicted", "label"])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"counts": (9, 4)},  # two classes
        {"counts": (30, 0, 10)},  # a class without rows
        {"counts": (3, 2), "dim": 20},  # more features than rows
    ],
)
def test_reference(rng, means, case):
    case = made(rng, **case)
    learned = (case.weight, case.bias)
    centres = reference.means(case.train, case.labels, *learned, means)
    expected = [reference.caref(row, centres, *learned) for row in case.rows]
    got = scored(CARef(Config(means=means)), case)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_class_that_is_never_predicted_gives_numbers(rng):
    case = made(rng)
    case.bias[2] = -1e4
    detector = CARef().fit(case.inputs())
    logits = torch.tensor([[0.0, 0.0, 1.0]])
    row = torch.tensor(case.rows[:1])
    mean = case.train[case.labels == 2].mean(axis=0)
    expected = np.abs(case.rows[0] - mean).sum() / np.abs(case.rows[0]).sum()
    assert float(detector.score(FeatureBatch.of(row, logits))) == pytest.approx(expected, rel=1e-5)


@given(scale=st.floats(1e-3, 1e3))
def test_the_unit_of_features_does_not_matter(scale):
    case = made(np.random.default_rng(1))
    expected = scored(CARef(), case)
    scaled = made(np.random.default_rng(1))
    for array in (scaled.train, scaled.rows):
        array *= np.float32(scale)
    scaled.bias[:] *= np.float32(scale)
    np.testing.assert_allclose(scored(CARef(), scaled), expected, rtol=1e-4)


def test_the_class_mean_scores_zero_and_a_zero_row_is_far(rng):
    case = made(rng)
    detector = CARef(Config(means="label")).fit(case.inputs())
    logits = torch.eye(3)
    means = detector.learned("means_")
    assert (detector.score(FeatureBatch.of(means, logits)) < 1e-6).all()
    far = detector.score(FeatureBatch.of(torch.zeros(3, 8), logits))
    assert torch.isfinite(far).all()
    assert (far > 1e6).all()


def test_ranges():
    with pytest.raises(ConfigError, match=r"methods.caref.means is 'both'"):
        Config(means="both")
