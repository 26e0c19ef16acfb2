import numpy as np
import pytest
import torch
from reference.pnml import pnml

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.methods.pnml import PNML, regret


def scored(train, rows, logits):
    batch = FeatureBatch.of(torch.tensor(train), torch.zeros(len(train), logits.shape[1]))
    detector = PNML().fit(FitInputs(TensorSource(batch, logits.shape[1])))
    return detector.score(FeatureBatch.of(torch.tensor(rows), torch.tensor(logits)))


def made(rng, num, dim, classes=4):
    shapes = [(num, dim), (9, dim), (9, classes)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(("num", "dim"), [(60, 6), (5, 40), (700, 512)])
def test_reference(rng, num, dim):
    train, rows, logits = made(rng, num, dim)
    rows[0], rows[1] = 0, train[2]
    expected = [pnml(row, own, train) for row, own in zip(rows, logits, strict=True)]
    np.testing.assert_allclose(scored(train, rows, logits), expected, rtol=1e-5)


def test_a_dead_feature_that_wakes_up_is_regretted(rng):
    train, rows, logits = made(rng, 60, 6)
    train[:, 0] = rows[:, 0] = 0
    awake = rows.copy()
    awake[:, 0] = 3
    asleep = scored(train, rows, logits)
    assert (scored(train, awake, logits) > asleep).all()
    np.testing.assert_allclose(
        asleep, [pnml(row, own, train) for row, own in zip(rows, logits, strict=True)], rtol=1e-5
    )


def test_sure_rows_keep_their_order(rng):
    # In float32, and as log(sum), all of these regrets are the same zero.
    train, rows, _ = made(rng, 60, 6)
    rows[:] = rows[0]
    logits = np.zeros((9, 2), np.float32)
    logits[:, 0] = 30 + np.arange(9)
    scores = scored(train, rows, logits)
    assert (scores > 0).all()
    assert (scores[1:] < scores[:-1]).all()


def test_a_genie_without_freedom_regrets_nothing():
    logs = torch.log_softmax(torch.tensor([[0.0, -1e4, 5.0]], dtype=torch.float64), dim=1)
    assert regret(logs, torch.zeros(1, dtype=torch.float64)) == 0
    free = regret(logs, torch.ones(1, dtype=torch.float64))
    probabilities = logs.exp()
    torch.testing.assert_close(free, (1 / (2 - probabilities)).sum(1).log())


def test_zero_training_features_are_no_trouble(rng):
    _, rows, logits = made(rng, 5, 6)
    assert torch.isfinite(scored(np.zeros((5, 6), np.float32), rows, logits)).all()


def test_no_rows_are_refused():
    empty = FeatureBatch.of(torch.zeros(0, 3), torch.zeros(0, 2))
    with pytest.raises(DataError, match="the training split has no rows"):
        PNML().fit(FitInputs(TensorSource(empty, 2)))
