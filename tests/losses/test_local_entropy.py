import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from ltood.core.errors import ConfigError
from ltood.losses.local_entropy import irrelevant_patches, local_entropy_loss
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


def test_no_best_class_is_refused():
    with pytest.raises(ConfigError, match="topk is 0; a patch has at least one best class"):
        local_entropy_loss(torch.zeros(1, 1, 2), torch.zeros(1, dtype=torch.int64), topk=0)
