import numpy as np
import pytest
import torch
from reference.nearest_class_mean import nearest_class_mean

from ltood.core.batches import FeatureBatch
from ltood.core.inputs import FitInputs
from ltood.methods.nearest_class_mean import Config, NearestClassMean


def made(rng, counts, dim):
    labels = np.repeat(np.arange(len(counts)), counts)
    train = (rng.normal(size=(len(labels), dim)) + labels[:, None]).astype(np.float32)
    return train, labels, (2 * rng.normal(size=(9, dim))).astype(np.float32)


def scored(train, labels, rows, num_classes, **settings):
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), num_classes=num_classes)
    detector = NearestClassMean(Config(**settings)).fit(inputs)
    return detector.score(FeatureBatch.of(torch.tensor(rows)))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("counts", "dim"), [((12, 5, 3), 4), ((6, 0, 2), 512), ((3,), 2)])
def test_reference(rng, counts, dim, normalise):
    train, labels, rows = made(rng, counts, dim)
    rows[0] = 0
    got = scored(train, labels, rows, len(counts), normalise=normalise)
    expected = [nearest_class_mean(row, train, labels, len(counts), normalise) for row in rows]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_mean_is_at_distance_zero(rng):
    train, labels, _ = made(rng, (1, 1), 6)
    assert scored(train, labels, train, 2).max() < 1e-6


def test_far_from_the_origin_digits_are_kept(rng):
    train, labels, rows = made(rng, (8, 8), 4)
    shift = np.float32(2**13)
    # Shifting rounds; the reference sees the same rounded rows.
    train, rows = train + shift, rows + shift
    expected = [nearest_class_mean(row, train, labels, 2, False) for row in rows]
    np.testing.assert_allclose(scored(train, labels, rows, 2), expected, rtol=1e-6)
