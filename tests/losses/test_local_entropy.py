import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from ltood.core.errors import ConfigError
from ltood.losses.local_entropy import irrelevant_patches, local_entropy_loss, masked_mean
from tests.conftest import load_golden
from tests.reference import local_entropy as reference


@pytest.mark.parametrize("case", ["basic", "sharp", "none_selected", "all_selected", "k1"])
def test_gives_the_published_losses_and_gradients(case):
    start = f"loss/{case}/"
    golden = load_golden("local_entropy")
    g = {k.removeprefix(start): golden[k] for k in golden if k.startswith(start)}
    pooled = torch.tensor(g["logits_global"], requires_grad=True)
    local = torch.tensor(g["logits_local"], requires_grad=True)
    labels, topk = torch.tensor(g["labels"]), int(g["topk"])
    assert irrelevant_patches(local, labels, topk=topk).tolist() == g["selected"].tolist()
    entropy = local_entropy_loss(local, labels, topk=topk)
    assert entropy.item() == pytest.approx(float(g["loss_en"]), rel=1e-5)
    loss = cross_entropy(pooled, labels) + float(g["lambda"]) * entropy
    assert loss.item() == pytest.approx(float(g["loss"]), rel=1e-5)
    loss.backward()
    for found, name in ((pooled.grad, "grad_logits_global"), (local.grad, "grad_logits_local")):
        np.testing.assert_allclose(found.numpy(), g[name], rtol=1e-4)


def test_equals_one_patch_at_a_time(rng):
    logits, labels = 4 * rng.normal(size=(5, 7, 6)), rng.integers(6, size=5)
    expected, chosen = reference.local_entropy(logits.tolist(), labels.tolist(), 2)
    tensors = torch.tensor(logits), torch.tensor(labels)
    assert irrelevant_patches(*tensors, topk=2).tolist() == chosen
    assert local_entropy_loss(*tensors, topk=2).item() == pytest.approx(expected, rel=1e-12)


def test_a_tie_with_the_label_does_not_push_it_out():
    logits = torch.tensor([[[1.0, 1.0, 1.0], [2.0, 1.0, 2.0], [2.0, 1.0, 1.0]]])
    found = irrelevant_patches(logits, torch.tensor([1]), topk=1)
    assert found.tolist() == [[False, True, True]]


def test_nothing_chosen_is_exactly_zero_and_part_of_the_graph(rng):
    logits = torch.tensor(rng.normal(size=(2, 4, 3)), requires_grad=True)
    loss = local_entropy_loss(logits, torch.tensor([0, 2]), topk=3)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.abs().max() == 0


@given(seed=st.integers(0, 999), topk=st.integers(1, 5), weighted=st.booleans())
def test_all_patches_under_a_mask_give_the_same_loss_and_gradient(seed, topk, weighted):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (3,), generator=rng)
    weights = torch.rand(3, generator=rng, dtype=torch.float64) if weighted else None
    logits = [4 * torch.randn(3, 5, 4, generator=rng, dtype=torch.float64)]
    logits.append(logits[0].clone())
    mask = irrelevant_patches(logits[0], labels, topk=topk)
    losses = [
        local_entropy_loss(logits[0].requires_grad_(), labels, topk=topk, weights=weights),
        masked_mean(logits[1].requires_grad_(), mask, weights),
    ]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(logits[0].grad, logits[1].grad, rtol=1e-10, atol=1e-14)


def test_no_best_class_is_refused():
    with pytest.raises(ConfigError, match="topk is 0; a patch has at least one best class"):
        local_entropy_loss(torch.zeros(1, 1, 2), torch.zeros(1, dtype=torch.int64), topk=0)
