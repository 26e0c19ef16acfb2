import torch

from ltood.core.batches import FeatureBatch
from ltood.normalisers.none import NoNormalisation


def test_scores_are_handed_on():
    scores = torch.randn(3)
    batch = FeatureBatch.of(logits=torch.randn(3, 2))
    assert NoNormalisation(base="knn")._normalise(scores, batch) is scores
