import numpy as np
import pytest
import torch
from reference.she import she

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.she import SHE


def made(rng, counts, dim):
    labels = np.repeat(np.arange(len(counts)), counts)
    weight = rng.normal(size=(len(counts), dim)).astype(np.float32)
    bias = rng.normal(size=len(counts)).astype(np.float32)
    train = (weight[labels] + rng.normal(size=(len(labels), dim))).astype(np.float32)
    return train, labels, weight, bias, rng.normal(size=(12, dim)).astype(np.float32)


def scored(train, labels, weight, bias, rows):
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    inputs = FitInputs.of(torch.tensor(train), torch.tensor(labels), head=head)
    return SHE().fit(inputs).score(FeatureBatch.of(torch.tensor(rows), head=head))


@pytest.mark.parametrize(("counts", "dim"), [((12, 9, 4), 3), ((12, 0, 4), 3), ((3, 2), 512)])
def test_reference(rng, counts, dim):
    train, labels, weight, bias, rows = made(rng, counts, dim)
    rows[0] = 0
    expected = [she(row, train, labels, weight, bias) for row in rows]
    got = scored(train, labels, weight, bias, rows)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_wrong_rows_leave_no_trace():
    eye, bias = np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    train = np.array([[2, 0], [0, 9], [0, 4]], np.float32)  # row 1 of class 0 is taken for 1
    got = scored(train, np.array([0, 0, 1]), eye, bias, eye)
    assert got.tolist() == [-2.0, -4.0]


def test_no_right_row_falls_back_to_all_rows_of_the_class():
    eye, bias = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    train = np.array([[4, 0, 3], [6, 1, 0], [6, 3, 0]], np.float32)  # class 1 is never right
    got = scored(train, np.array([0, 1, 1]), eye, bias, eye)
    assert got.tolist() == [-4.0, -2.0, -1.0]  # class 2 has no row: mean of all


def test_labels_must_be_classes():
    logits = torch.eye(2)
    batch = FeatureBatch.of(logits, logits, labels=torch.tensor([0, 5]))
    inputs = FitInputs(TensorSource(batch, 2))
    with pytest.raises(DataError, match="the training split holds the label 5"):
        SHE().fit(inputs)
