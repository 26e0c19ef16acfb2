import re

import numpy as np
import pytest
import torch

from ltood.core.arrays import check_finite
from ltood.core.batches import FeatureBatch
from ltood.core.errors import DataError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior

HEAD = ClassifierHead(torch.ones(3, 4), torch.zeros(3))
ROWS = torch.rand(5, 4)
LABELS = torch.tensor([0, 1, 2, 0, 1])


def with_value(value: float) -> torch.Tensor:
    rows = ROWS.clone()
    rows[3, 1] = value
    return rows


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    sentence = r"features hold NaN or infinity in 1 of 5 rows \(first in row 3\)"
    with pytest.raises(DataError, match=sentence):
        _ = FeatureBatch.of(with_value(value)).features
    with pytest.raises(DataError, match=sentence):
        FeatureBatch.of(with_value(value)).slice(0, 2)
    with pytest.raises(DataError, match=sentence):
        FeatureBatch.of(with_value(value), head=HEAD)
    with pytest.raises(DataError, match=sentence):
        FitInputs.of(with_value(value), LABELS)
    with pytest.raises(DataError, match=sentence):
        FitInputs.of(ROWS, LABELS, head=HEAD, aux=with_value(value))
    with pytest.raises(DataError, match=r"logits hold NaN or infinity"):
        _ = FeatureBatch.of(logits=with_value(value)).logits


def test_what_nobody_reads_is_not_looked_at():
    batch = FeatureBatch.of(with_value(float("nan")), ROWS)
    assert torch.equal(batch.logits, ROWS)
    with pytest.raises(DataError, match="features hold NaN"):
        _ = batch.features


def test_a_sum_out_of_range_is_no_fault():
    half = torch.full((5, 4), 60000.0, dtype=torch.float16)
    assert len(FeatureBatch.of(half)) == 5
    assert len(FeatureBatch.of(torch.full((5, 4), 3e38))) == 5


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"features": ROWS[0]}, "features have shape [4]; they must be [N, D]"),
        ({"features": ROWS[:, :3]}, "with this head the last size must be 4"),
        ({"logits": ROWS}, "logits have shape [5, 4], but with this head the last size must be 3"),
        ({"local": ROWS}, "local features have shape [5, 4]; they must be [N, P, D]"),
        ({"aux_outputs": ROWS[:, 0]}, "auxiliary outputs have shape [5]; they must be [N, e]"),
        ({"features": ROWS.to_sparse()}, "features are a sparse tensor; pass features.to_dense()"),
        ({"features": ROWS.numpy() * 1j}, "features are complex; give real numbers"),
        ({"features": ROWS * 1j}, "features are complex; give real numbers"),
        ({"features": [[1.0], [1.0, 2.0]]}, "features are not a rectangular array of numbers"),
        ({"features": [torch.ones(1), torch.ones(2)]}, "features are not a rectangular array"),
        ({"features": np.array([["a"]])}, "features hold <U1; give an array of real numbers"),
        ({"features": np.array([[None]])}, "features are not a rectangular array of numbers"),
    ],
)
def test_other_shapes_are_refused(arrays, sentence):
    with pytest.raises(DataError, match=re.escape(sentence)):
        FeatureBatch.of(**arrays, head=HEAD)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            LABELS - 1,
            "row 0 of the training rows holds the label -1; labels of training rows are 0 to 2",
        ),
        (
            LABELS + 1,
            "row 2 of the training rows holds the label 3; labels of training rows are 0 to 2",
        ),
        (LABELS.float(), "labels are float32 of shape [5]; they must be whole"),
        (LABELS[:, None], "labels are int64 of shape [5, 1]; they must be"),
        (LABELS == 0, "labels are bool of shape [5]; they must be whole"),
        ([0.0, 1.0], "labels are float64 of shape [2]; they must be whole"),
        (np.full(5, 2**64 - 1, dtype=np.uint64), "labels are float64 of shape [5]"),
    ],
)
def test_other_labels_are_refused(labels, sentence):
    with pytest.raises(DataError, match=re.escape(sentence)):
        FitInputs.of(ROWS, labels, head=HEAD)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_whole_type_are_taken(dtype):
    inputs = FitInputs.of(ROWS, LABELS.to(dtype), head=HEAD)
    labels = next(iter(inputs.require_train().batches())).labels
    assert labels.dtype == torch.int64
    assert torch.equal(labels, LABELS)


def test_a_prior_of_other_classes_is_refused():
    prior = ClassPrior(np.array([3, 2]))
    with pytest.raises(DataError, match="the prior has 2 classes but there are 3"):
        FitInputs.of(ROWS, LABELS, head=HEAD, prior=prior)
    assert FitInputs.of(prior=prior).require_prior() is prior


def test_a_head_is_what_a_layer_or_its_arrays_make():
    layer = torch.nn.Linear(4, 3)
    pair = (layer.weight.detach().numpy(), layer.bias.tolist())
    for given in (layer, pair, ClassifierHead(layer.weight, layer.bias)):
        made = ClassifierHead.of(given)
        assert torch.equal(made.weight, layer.weight)
        assert torch.equal(made.bias, layer.bias)
    assert ClassifierHead.of((layer.weight, None)).bias.tolist() == [0, 0, 0]
    assert ClassifierHead.of(torch.nn.Linear(4, 3, bias=False)).bias.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="head is a ReLU; give"):
        ClassifierHead.of(torch.nn.ReLU())


def test_a_prior_is_what_class_counts_make():
    assert ClassPrior.of([3, 2]).counts.tolist() == [3, 2]
    with pytest.raises(DataError, match="class counts are float64"):
        ClassPrior.of([0.5, 0.5])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_head_that_is_not_finite_is_refused(value):
    bad = with_value(value)[:4].T
    with pytest.raises(DataError, match="head weight holds NaN or infinity"):
        FitInputs.of(torch.rand(5, 4), LABELS, head=(bad, torch.zeros(4)))
    with pytest.raises(DataError, match="head bias holds NaN or infinity"):
        ClassifierHead(torch.ones(3, 4), torch.full((3,), value))
    with pytest.raises(DataError, match="head weight holds NaN or infinity"):
        ClassifierHead.of((np.full((3, 4), 1e300), np.zeros(3)))


def test_a_head_without_classes_is_refused():
    with pytest.raises(DataError, match="0 classes x 4 features"):
        ClassifierHead.of((np.zeros((0, 4)), np.zeros(0)))


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match=r"scores hold NaN or infinity in 1 of 3 rows"):
        check_finite(torch.tensor([1.0, float("nan"), 2.0]), "scores")
