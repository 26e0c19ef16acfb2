import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.pnml import pnml

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.pnml import PNML, regret


def scored(train, rows, weight, bias):
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    source = TensorSource(FeatureBatch.of(torch.tensor(train)), head.num_classes)
    return PNML().fit(FitInputs(source, head=head)).score(FeatureBatch.of(torch.tensor(rows)))


def made(rng, num, dim, classes=4):
    shapes = [(num, dim), (9, dim), (classes, dim), (classes,)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(("num", "dim"), [(60, 6), (5, 40), (700, 512)])
def test_reference(rng, num, dim):
    train, rows, weight, bias = made(rng, num, dim)
    rows[0], rows[1] = 0, train[2]
    expected = [pnml(row, train, weight, bias) for row in rows]
    np.testing.assert_allclose(scored(train, rows, weight, bias), expected, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-3, 1e3))
def test_the_length_of_a_row_does_not_matter(length):
    train, rows, weight, bias = made(np.random.default_rng(0), 60, 6)
    got = scored(train, (rows * length).astype(np.float32), weight, bias)
    torch.testing.assert_close(got, scored(train, rows, weight, bias), rtol=1e-5, atol=1e-6)


def test_a_dead_feature_that_wakes_up_is_regretted(rng):
    train, rows, weight, bias = made(rng, 60, 6)
    train[:, 0] = rows[:, 0] = 0
    weight[:, 0] = 0
    awake = rows.copy()
    awake[:, 0] = 3
    asleep = scored(train, rows, weight, bias)
    assert (scored(train, awake, weight, bias) > asleep).all()
    expected = [pnml(row, train, weight, bias) for row in rows]
    np.testing.assert_allclose(asleep, expected, rtol=1e-5)


def test_sure_rows_keep_their_order():
    # In float32, and as log(sum), all of these regrets are the same zero.
    logits = torch.zeros(9, 2, dtype=torch.float64)
    logits[:, 0] = 30 + torch.arange(9)
    scores = regret(torch.log_softmax(logits, dim=1), torch.full((9,), 0.3).double()).float()
    assert (scores > 0).all()
    assert (scores[1:] < scores[:-1]).all()


def test_a_genie_without_freedom_regrets_nothing():
    logs = torch.log_softmax(torch.tensor([[0.0, -1e4, 5.0]], dtype=torch.float64), dim=1)
    assert regret(logs, torch.zeros(1, dtype=torch.float64)) == 0
    free = regret(logs, torch.ones(1, dtype=torch.float64))
    probabilities = logs.exp()
    torch.testing.assert_close(free, (1 / (2 - probabilities)).sum(1).log())


def test_zero_training_features_are_no_trouble(rng):
    _, rows, weight, bias = made(rng, 5, 6)
    assert torch.isfinite(scored(np.zeros((5, 6), np.float32), rows, weight, bias)).all()


def test_no_rows_are_refused():
    empty = FeatureBatch.of(torch.zeros(0, 3), torch.zeros(0, 2))
    with pytest.raises(DataError, match="the training split has no rows"):
        PNML().fit(
            FitInputs(TensorSource(empty, 2), head=ClassifierHead.of((torch.eye(3)[:2], None)))
        )
