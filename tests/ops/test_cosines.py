import pytest
import torch

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.ops import cosines as ops


@pytest.fixture
def directions():
    return ops.class_directions(FitInputs(head=ClassifierHead(torch.randn(6, 4), torch.ones(6))))


def test_lengths_do_not_matter(directions):
    features = torch.randn(5, 4)
    expected = torch.nn.functional.cosine_similarity(features[:, None], directions[None], dim=2)
    for factor in (1e-6, 1.0, 1e6):
        torch.testing.assert_close(ops.cosines(factor * features, directions), expected)


def test_zero_vectors_have_cosine_zero():
    head = ClassifierHead(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.zeros(2))
    directions = ops.class_directions(FitInputs(head=head))
    got = ops.cosines(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), directions)
    torch.testing.assert_close(got, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))


def test_directions_are_shared_by_methods():
    inputs = FitInputs(head=ClassifierHead(torch.randn(3, 4), torch.zeros(3)))
    assert ops.class_directions(inputs) is ops.class_directions(inputs)


def test_patches_come_in_pieces(directions, monkeypatch):
    local = torch.randn(7, 5, 4)
    whole = ops.local_confidence(FeatureBatch.of(local=local), directions, 0.1)
    monkeypatch.setattr(ops, "CHUNK_VALUES", 5 * 6 * 2)
    pieces = ops.local_confidence(FeatureBatch.of(local=local), directions, 0.1)
    torch.testing.assert_close(pieces, whole)


def test_patches_are_compared_once_per_batch(directions):
    batch = FeatureBatch.of(local=torch.randn(3, 5, 4))
    first = ops.local_confidence(batch, directions, 0.1)
    assert ops.local_confidence(batch, directions, 0.1) is first
    assert not torch.equal(ops.local_confidence(batch, directions, 0.2), first)
    assert not torch.equal(ops.local_confidence(batch, -directions, 0.1), first)
