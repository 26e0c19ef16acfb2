import torch

from ltood.core.batches import FeatureBatch
from ltood.methods.maxlogit import MaxLogit


def test_the_largest_logit_is_negated():
    logits = torch.tensor([[1.0, -2.0, 3.5], [-4.0, -1.5, -9.0]])
    assert MaxLogit().score(FeatureBatch.of(logits=logits)).tolist() == [-3.5, 1.5]
