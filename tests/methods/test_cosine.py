import numpy as np
import pytest
import torch
from reference.cosine import cosine

from ltood.core.batches import FeatureBatch
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.methods.cosine import Config, Cosine


def made(rng, counts, dim):
    labels = np.repeat(np.arange(len(counts)), counts)
    train = (rng.normal(size=(len(labels), dim)) + labels[:, None]).astype(np.float32)
    return train, labels, rng.normal(size=(9, dim)).astype(np.float32)


def scored(train, labels, rows, num_classes, **settings):
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), num_classes=num_classes)
    detector = Cosine(Config(**settings)).fit(inputs)
    return detector.score(FeatureBatch.of(torch.tensor(rows)))


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(("counts", "dim"), [((12, 5, 3), 4), ((6, 0, 2), 512), ((1, 1), 3)])
def test_reference(rng, counts, dim, centre):
    train, labels, rows = made(rng, counts, dim)
    got = scored(train, labels, rows, len(counts), centre=centre)
    expected = [cosine(row, train, labels, len(counts), centre) for row in rows]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_only_directions_count(rng):
    train, labels, rows = made(rng, (12, 5), 4)
    scores = scored(train, labels, rows, 2)
    torch.testing.assert_close(scored(train * 1e4, labels, rows * 1e-4, 2), scores)
    assert not torch.allclose(scored(train, labels, rows, 2, centre=True), scores)


def test_zero_rows_and_zero_means_are_neutral(rng):
    train, labels, rows = made(rng, (3, 4), 5)
    train[labels == 0] = 0
    rows[0] = 0
    scores = scored(train, labels, rows, 2)
    assert scores[0] == 0
    assert torch.isfinite(scores).all()


def test_one_class_cannot_be_centred(rng):
    train, labels, rows = made(rng, (4, 0), 3)
    assert torch.isfinite(scored(train, labels, rows, 2)).all()
    with pytest.raises(DataError, match=r"only one class has training rows.*centre to false"):
        scored(train, labels, rows, 2, centre=True)
