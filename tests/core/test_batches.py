import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError, MissingNeedError, NotFittedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.core.prior import ClassPrior
from ltood.core.slots import Method, check_needs
from ltood.methods.himplos import HIMPLoS


@pytest.fixture
def head() -> ClassifierHead:
    return ClassifierHead(torch.randn(3, 4), torch.randn(3))


def test_logits_come_from_the_head(head):
    features = torch.randn(5, 4)
    batch = FeatureBatch.of(features, head=head)
    torch.testing.assert_close(batch.logits, features @ head.weight.T + head.bias)
    assert len(batch) == 5


def test_rows_must_agree():
    with pytest.raises(DataError, match=r"\(features 5, logits 4\)"):
        FeatureBatch.of(torch.zeros(5, 4), torch.zeros(4, 3))
    with pytest.raises(DataError, match="at least one array"):
        FeatureBatch.of()


def test_absent_arrays_are_named():
    batch = FeatureBatch.of(logits=torch.zeros(2, 3))
    names = {"features": "features", "labels": "labels", "ids": "ids", "local": "local features"}
    for name, said in {**names, "aux_outputs": "auxiliary outputs"}.items():
        with pytest.raises(MissingNeedError, match=f"holds no {said}"):
            getattr(batch, name)


def test_shared_values_are_computed_once():
    batch = FeatureBatch.of(torch.zeros(2, 3))
    calls = []
    for _ in range(3):
        assert batch.cached("key", lambda: calls.append(1) or 7) == 7
    assert len(calls) == 1
    assert batch.cached(("key", 2), lambda: 8) == 8


def test_tensor_source_gives_all_rows_in_order(head):
    features = torch.randn(10, 4)
    source = TensorSource(FeatureBatch.of(features, head=head), 3)
    batches = list(source.batches(rows=3))
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    torch.testing.assert_close(torch.cat([batch.features for batch in batches]), features)
    assert (len(source), source.dim, source.num_classes) == (10, 4, 3)


def test_inputs_from_tensors(head):
    labels = torch.tensor([0, 0, 2])
    inputs = FitInputs.of(torch.randn(3, 4), labels, head=head, aux=torch.randn(2, 4))
    assert inputs.require_prior().counts.tolist() == [2, 0, 1]
    assert len(inputs.require_aux()) == 2
    assert inputs.require_head() is head
    assert FitInputs.of(torch.randn(3, 4), labels).require_train().num_classes == 3
    assert FitInputs.of(logits=torch.zeros(3, 5), labels=labels).require_train().num_classes == 5


def test_held_out_rows_have_ids_and_what_the_head_makes(head):
    train, labels = torch.randn(3, 4), torch.tensor([0, 0, 2])
    features = torch.randn(5, 4)
    inputs = FitInputs.of(train, labels, head=head, val=features, val_labels=[2, 1, 0, 0, 1])
    (rows,) = inputs.require_val().batches()
    assert rows.ids.tolist() == [0, 1, 2, 3, 4]
    assert rows.labels.tolist() == [2, 1, 0, 0, 1]
    assert torch.equal(rows.features, features)
    torch.testing.assert_close(rows.logits, head.logits(features))
    batch = FeatureBatch.of(features, labels=labels[[0] * 5], ids=[9, 3, 2, 8, 1])
    (own,) = FitInputs.of(train, labels, val=batch).require_val().batches()
    assert own.ids.tolist() == [9, 3, 2, 8, 1]
    (numbered,) = FitInputs.of(train, labels, val=FeatureBatch.of(features)).val.batches()
    assert numbered.ids.tolist() == [0, 1, 2, 3, 4]
    assert FitInputs.of(train, labels).val is None


def test_held_out_rows_that_break_a_rule_are_refused(head):
    train, labels, rows = torch.randn(3, 4), torch.tensor([0, 0, 2]), torch.randn(2, 4)
    with pytest.raises(DataError, match=r"row 1 of the held-out rows holds the label 3"):
        FitInputs.of(train, labels, head=head, val=rows, val_labels=[0, 3])
    with pytest.raises(DataError, match="val_labels without rows"):
        FitInputs.of(train, labels, val_labels=[0, 1])
    with pytest.raises(DataError, match="holds its labels"):
        FitInputs.of(train, labels, val=FeatureBatch.of(rows), val_labels=[0, 1])
    with pytest.raises(DataError, match="val have shape"):
        FitInputs.of(train, labels, head=head, val=torch.randn(2, 5))
    with pytest.raises(DataError, match="NaN"):
        FitInputs.of(train, labels, val=torch.full((2, 4), torch.nan))


def test_missing_inputs_are_named():
    empty = FitInputs.of()
    required = (empty.require_train, empty.require_aux, empty.require_head, empty.require_val)
    for require in required:
        with pytest.raises(MissingNeedError, match=r"fit needs .*, which it was not given"):
            require()


@pytest.mark.parametrize("need", list(Need))
def test_every_need_is_checked(need):
    with pytest.raises(MissingNeedError, match=r"method toy needs .*store does not hold"):
        check_needs("method toy", frozenset({need}), FitInputs.of(), has_local=False)


def test_met_needs_pass(head):
    nodes = torch.zeros(2, 4), torch.zeros(2)
    norm = torch.ones(4), torch.zeros(4)
    texts = {"negative_weight": torch.ones(2, 4), "no_weight": torch.ones(3, 4)}
    full = ClassifierHead(
        head.weight, head.bias, *nodes, *norm, outlier_classes=torch.tensor(1), **texts
    )
    parts = {"head": full, "aux": torch.ones(1, 4), "val": torch.ones(2, 4)}
    inputs = FitInputs.of(torch.randn(3, 4), torch.tensor([0, 1, 2]), **parts)
    check_needs("method toy", frozenset(Need), inputs, has_local=True)


@dataclass(frozen=True)
class ToyConfig:
    pass


class Toy(Method[ToyConfig]):
    def _fit(self, inputs):
        self.mean_ = torch.ones(2)
        self.cache = torch.zeros(2)
        return self

    def _score(self, batch):
        return self.learned("mean_")


def test_state_is_what_fit_learned():
    with pytest.raises(NotFittedError, match="is not fitted: call fit"):
        Toy().score(FeatureBatch.of(torch.zeros(1, 2)))
    fitted = Toy().fit(FitInputs.of())
    assert list(fitted.state()) == ["mean_"]
    torch.testing.assert_close(Toy().restore(fitted.state()).learned("mean_"), torch.ones(2))
    assert Toy().derived() == {}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"weight": np.zeros(3), "bias": np.zeros(3)}, r"must be \[C, D\]"),
        ({"weight": np.zeros((3, 4)), "bias": np.zeros(2)}, r"bias has shape \(2,\).*be \(3,\)\.$"),
        ({"weight": np.zeros((4, 3)), "bias": np.zeros(3)}, r"weight seems to be \[D, C\]; transp"),
        (
            {"weight": np.zeros((3, 4)), "bias": np.zeros(3), "bn_weight": np.zeros(3)},
            "3 classes x 4 features",
        ),
        (
            {"weight": np.zeros((3, 4)), "bias": np.zeros(3), "extra_weight": np.zeros((1, 4))},
            "must be given together",
        ),
        (
            {"weight": np.zeros((3, 4)), "bias": np.zeros(3), "gamma_weight": np.zeros((3, 4))},
            "gamma_weight and gamma_bias must be given together",
        ),
        (
            {"weight": np.zeros((3, 4)), "bias": np.zeros(3), "msp_map": np.zeros(3)},
            r"msp_map has shape \(3,\)",
        ),
        (
            {
                "weight": np.zeros((3, 4)),
                "bias": np.zeros(3),
                "extra_weight": np.zeros((1, 5)),
                "extra_bias": np.zeros(1),
            },
            r"it must be \(1, 4\)",
        ),
        (
            {
                "weight": np.zeros((3, 4)),
                "bias": np.zeros(3),
                "expert_weight": np.zeros((2, 3, 4)),
                "expert_bias": np.zeros((2, 4)),
            },
            r"expert_bias has shape \(2, 4\).*be \(2, 3\)\.$",
        ),
    ],
)
def test_bad_heads(arrays, sentence):
    with pytest.raises(DataError, match=sentence):
        ClassifierHead.from_arrays(arrays)


def test_extra_outputs():
    arrays = {
        "weight": np.zeros((3, 4)),
        "bias": np.zeros(3),
        "extra_weight": np.ones((1, 4)),
        "extra_bias": np.ones(1),
        "something_else": np.zeros(1),
    }
    head = ClassifierHead.from_arrays(arrays)
    assert (head.num_classes, head.dim, head.num_aux_outputs) == (3, 4, 1)
    extra = head.aux_outputs(torch.ones(2, 4))
    assert extra is not None
    assert extra.tolist() == [[5.0], [5.0]]
    assert ClassifierHead(head.weight, head.bias).aux_outputs(torch.ones(2, 4)) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_head_is_float32_whatever_it_was(dtype):
    weight, bias = torch.randn(3, 4).to(dtype), torch.randn(3).to(dtype)
    head = ClassifierHead(weight, bias, bn_weight=torch.ones(4, dtype=dtype))
    assert {head.weight.dtype, head.bias.dtype} == {torch.float32}
    assert head.bn_weight is not None
    assert head.bn_weight.dtype == torch.float32
    torch.testing.assert_close(head.weight, weight.float(), rtol=0, atol=0)


def test_a_layer_and_its_features_come_without_gradients():
    layer = torch.nn.Linear(4, 3)
    head = ClassifierHead(layer.weight, layer.bias)
    features = torch.rand(5, 4, requires_grad=True)
    batch = FeatureBatch.of(features, head=head)
    inputs = FitInputs.of(features, torch.tensor([0, 1, 2, 0, 1]), head=head)
    train = next(iter(inputs.require_train().batches()))
    for tensor in (head.weight, head.bias, batch.features, batch.logits, train.features):
        assert not tensor.requires_grad
    # Percentiles go through NumPy, which takes no tensor that records gradients.
    scores = HIMPLoS().fit(inputs).score(batch)
    assert not scores.requires_grad
    assert layer.weight.requires_grad


def test_what_holds_arrays_is_equal_to_itself_only(head):
    batch = FeatureBatch.of(torch.zeros(2, 4), head=head)
    twin = dataclasses.replace(batch)
    inputs = FitInputs.of([[0.0], [1.0]], [0, 1])
    for one, other in ((batch, twin), (inputs, dataclasses.replace(inputs))):
        assert one == one
        assert one != other
        assert len({one, other}) == 2
    prior = inputs.require_prior()
    assert prior != ClassPrior(prior.counts)
    assert head != ClassifierHead(head.weight, head.bias)


def test_a_replaced_batch_has_no_values_of_the_first():
    batch = FeatureBatch.of(torch.zeros(2, 3))
    assert batch.cached("sum", lambda: batch.features.sum().item()) == 0
    other = dataclasses.replace(batch, arrays={"features": torch.ones(2, 3)})
    assert other.cached("sum", lambda: other.features.sum().item()) == 6


@pytest.mark.parametrize("labels", [[0, 1, 0], (0, 1, 0), np.array([0, 1, 0], np.uint16)])
def test_inputs_are_taken_from_lists_and_arrays(labels):
    rows = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]
    inputs = FitInputs.of(rows, labels)
    batch = next(iter(inputs.require_train().batches()))
    assert batch.features.tolist() == rows
    assert batch.labels.dtype == torch.int64
    assert inputs.require_prior().counts.tolist() == [2, 1]


def test_outliers_of_another_width_are_named(head):
    with pytest.raises(DataError, match="aux"):
        FitInputs.of(torch.ones(2, head.dim), [0, 1], head=head, aux=torch.ones(3, head.dim + 1))


def test_an_entry_says_nothing_of_itself_by_default(toy):
    method = HIMPLoS().fit(toy.inputs)
    assert method.findings() == {}
    assert method.explain(toy.id_batch) == {}
    learned = method.learned_rows(torch.arange(4), torch.zeros(4, dtype=torch.int64))
    assert learned.tolist() == [False] * 4
