import math

import numpy as np
import pytest
import torch
from conftest import load_golden

from ltood.losses.asymmetric_contrastive import asymmetric_contrastive_loss


def reference(anchors, labels, outliers, temperature):
    """The loss, one pair at a time."""

    def similarity(first, second):
        product = sum(a * b for a, b in zip(first, second, strict=True))
        return product / math.hypot(*first) / math.hypot(*second) / temperature

    per_anchor = []
    for i, anchor in enumerate(anchors):
        rest = [j for j in range(len(anchors)) if j != i]
        keys = [anchors[j] for j in rest] + list(outliers)
        partition = sum(math.exp(similarity(anchor, key)) for key in keys)
        shares = [
            math.log(math.exp(similarity(anchor, anchors[j])) / partition)
            for j in rest
            if labels[j] == labels[i]
        ]
        if shares:
            per_anchor.append(-sum(shares) / len(shares))
    return sum(per_anchor) / len(per_anchor)


@pytest.mark.parametrize(("temperature", "name"), [(0.07, "T0p07"), (0.2, "T0p20")])
def test_value_and_gradients_are_the_published_ones(temperature, name):
    golden = load_golden("losses")
    views = [torch.tensor(golden[f"pascl_proj_view{i}"], requires_grad=True) for i in (1, 2)]
    outliers = torch.tensor(golden["pascl_proj_ood"], requires_grad=True)
    labels = torch.tensor(golden["pascl_labels"])
    tail = labels >= int(golden["pascl_tail_threshold"])
    loss = asymmetric_contrastive_loss(
        torch.cat([view[tail] for view in views]),
        labels[tail].repeat(2),
        outliers,
        temperature=temperature,
    )
    loss.backward()
    assert loss.item() == pytest.approx(golden[f"pascl_cl_loss_{name}_f64"].item(), rel=1e-9)
    for tensor, side in ((views[0], "view1"), (outliers, "ood")):
        expected = torch.tensor(golden[f"pascl_cl_grad_{side}_{name}_f64"])
        torch.testing.assert_close(tensor.grad, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 1, 0], [2, 5, 5]])
def test_equals_one_pair_at_a_time(rng, labels):
    anchors, outliers = rng.normal(size=(len(labels), 6)), rng.normal(size=(3, 6))
    found = asymmetric_contrastive_loss(
        torch.tensor(anchors), torch.tensor(labels), torch.tensor(outliers), temperature=0.3
    )
    expected = reference(anchors.tolist(), labels, outliers.tolist(), 0.3)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("num_anchors", "num_outliers"), [(0, 3), (1, 3), (1, 0)])
def test_without_positives_it_is_zero_with_finite_gradients(num_anchors, num_outliers):
    anchors = torch.randn(num_anchors, 4, requires_grad=True)
    outliers = torch.randn(num_outliers, 4, requires_grad=True)
    labels = torch.arange(num_anchors)
    loss = asymmetric_contrastive_loss(anchors, labels, outliers, temperature=0.07)
    loss.backward()
    assert loss.item() == 0
    assert not anchors.grad.any()
    assert not outliers.grad.any()


def test_outliers_are_pushed_away_and_views_pulled_together():
    anchors = torch.tensor([[1.0, 0.2, 0.0], [1.0, -0.2, 0.0]], requires_grad=True)
    outliers = torch.tensor([[1.0, 0.0, 0.3]], requires_grad=True)
    labels = torch.zeros(2, dtype=torch.int64)
    asymmetric_contrastive_loss(anchors, labels, outliers, temperature=0.5).backward()
    assert anchors.grad[0, 1] > 0 > anchors.grad[1, 1]
    assert outliers.grad[0, 2] < 0


def test_mixed_precision_does_not_round_the_cosines(rng):
    anchors, outliers = (torch.tensor(rng.normal(size=(8, 16)), dtype=torch.float32) for _ in "ab")
    labels = torch.tensor(np.arange(8) // 2)

    def loss():
        return asymmetric_contrastive_loss(anchors, labels, outliers, temperature=0.07)

    with torch.autocast("cpu", torch.bfloat16):
        found = loss()
    assert torch.equal(found, loss())
