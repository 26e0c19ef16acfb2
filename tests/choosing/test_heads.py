import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ltood.choosing.heads import refitted, sliced
from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.head import ClassifierHead


def rows(seed=0, num=300, dim=6, classes=4, offset=0.0):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (num,), generator=rng)
    centres = torch.randn(classes, dim, generator=rng)
    widths = torch.logspace(-2, 1, dim)
    features = (centres[labels] + torch.randn(num, dim, generator=rng)) * widths + offset
    return features, labels


def source(features, labels, classes=4, batch_rows=None):
    class Small(TensorSource):
        def batches(self, rows=8192, arrays=()):
            return super().batches(batch_rows or rows, arrays)

    return Small(FeatureBatch.of(features, labels=labels), classes)


def head(dim=6, classes=4):
    return ClassifierHead(torch.zeros(classes, dim), torch.zeros(classes))


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_a_refit_is_the_logistic_regression_of_scikit_learn(offset):
    features, labels = rows(offset=offset)
    decay = 1e-2
    ours = refitted(head(), source(features, labels), decay, tolerance=1e-9)
    theirs = LogisticRegression(C=1 / (decay * len(labels)), tol=1e-10, max_iter=10_000)
    # Features of any offset: scikit-learn converges on centred ones, and the bias takes it back.
    mean = features.double().mean(dim=0)
    theirs.fit((features.double() - mean).numpy(), labels.numpy())
    np.testing.assert_allclose(ours.weight, theirs.coef_, rtol=2e-3, atol=2e-4)
    shares = ours.logits(features).softmax(dim=1)
    expected = theirs.predict_proba((features.double() - mean).numpy())
    np.testing.assert_allclose(shares, expected, atol=2e-4)


def test_a_refit_does_not_depend_on_batches_or_order():
    features, labels = rows()
    expected = refitted(head(), source(features, labels), tolerance=1e-7)
    order = torch.randperm(len(labels))
    got = refitted(head(), source(features[order], labels[order], batch_rows=64), tolerance=1e-7)
    torch.testing.assert_close(got.weight, expected.weight, rtol=1e-3, atol=1e-3)


def test_a_refit_streams_what_is_too_much_to_keep(monkeypatch):
    features, labels = rows()
    expected = refitted(head(), source(features, labels))
    monkeypatch.setattr("ltood.choosing.heads.EXACT_VALUES", 10)
    got = refitted(head(), source(features, labels))
    torch.testing.assert_close(got.weight, expected.weight)


def test_a_refit_lowers_the_loss_of_the_head_it_starts_from():
    features, labels = rows()
    start = ClassifierHead(torch.randn(4, 6), torch.randn(4))
    fitted = refitted(start, source(features, labels), 1e-4)

    def loss(a_head):
        return torch.nn.functional.cross_entropy(a_head.logits(features), labels)

    assert loss(fitted) < loss(start)


def test_a_slice_keeps_the_logits_of_its_classes_and_all_that_belongs_to_none():
    whole = ClassifierHead(
        torch.randn(4, 6),
        torch.randn(4),
        extra_weight=torch.randn(1, 6),
        extra_bias=torch.randn(1),
        bn_weight=torch.ones(6),
        bn_bias=torch.zeros(6),
        logit_scale=torch.tensor(100.0),
        gamma_weight=torch.randn(4, 6),
        gamma_bias=torch.randn(4),
        outlier_classes=torch.tensor(1.0),
        expert_weight=torch.randn(2, 5, 6),
        expert_bias=torch.randn(2, 5),
        negative_weight=torch.randn(7, 6),
        no_weight=torch.randn(4, 6),
    )
    kept = torch.tensor([0, 2, 3])
    part = sliced(whole, kept)
    features = torch.randn(5, 6)
    torch.testing.assert_close(part.logits(features), whole.logits(features)[:, kept])
    assert torch.equal(part.gamma_weight, whole.gamma_weight[kept])
    assert torch.equal(part.gamma_bias, whole.gamma_bias[kept])
    assert torch.equal(part.expert_weight, whole.expert_weight[:, [0, 2, 3, 4]])
    assert torch.equal(part.expert_bias, whole.expert_bias[:, [0, 2, 3, 4]])
    assert torch.equal(part.no_weight, whole.no_weight[kept])
    nodes = ("extra_weight", "extra_bias", "outlier_classes", "negative_weight")
    for name in (*nodes, "bn_weight", "bn_bias", "logit_scale"):
        assert torch.equal(getattr(part, name), getattr(whole, name))
