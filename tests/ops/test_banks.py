import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.inputs import FitInputs
from ltood.ops.banks import training_confidence, training_features, training_probabilities


def inputs_of(num, small=False):
    class Small(TensorSource):
        def batches(self, rows=3, arrays=()):
            return super().batches(3, arrays)

    features = torch.arange(1.0, num + 1)[:, None] * torch.tensor([3.0, 4.0])
    batch = FeatureBatch.of(features, features.clone(), labels=torch.zeros(num, dtype=torch.int64))
    return FitInputs((Small if small else TensorSource)(batch, 2))


def test_the_whole_bank_is_shared():
    inputs = inputs_of(5)
    bank = training_features(inputs, normalise=True)
    assert training_features(inputs, normalise=True, fraction=1.0) is bank
    torch.testing.assert_close(bank.rows, torch.tensor([[0.6, 0.8]]).expand(5, 2))
    probabilities = training_probabilities(inputs)
    assert training_probabilities(inputs, 1.0) is probabilities
    confidence = training_confidence(inputs)
    logits = torch.arange(1.0, 6)[:, None] * torch.tensor([3.0, 4.0])
    torch.testing.assert_close(probabilities, torch.softmax(logits, dim=1))
    torch.testing.assert_close(confidence, torch.logsumexp(logits, dim=1))


def test_all_training_rows_become_one_bank(rng):
    features = torch.tensor(rng.normal(size=(9000, 3)).astype(np.float32))
    inputs = FitInputs.of(features, torch.zeros(9000, dtype=torch.int64))
    bank = training_features(inputs, normalise=True)
    torch.testing.assert_close(bank.rows, normalize(features, dim=1))
    assert training_features(inputs, normalise=True) is bank
    assert torch.equal(training_features(inputs, normalise=False).rows, features)
    with pytest.raises(MissingNeedError, match="training features"):
        training_features(FitInputs(), normalise=True)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    ("fraction", "kept"),
    [(0.5, [2, 4, 6, 8, 10]), (0.3, [4, 7, 10]), (0.01, [10]), (0.9, [2, 3, 4, 5, 6, 7, 8, 9, 10])],
)
def test_rows_are_spread_evenly(fraction, kept, small):
    inputs = inputs_of(10, small)
    logits = torch.tensor([[3.0, 4.0]]) * torch.tensor(kept)[:, None]
    expected = torch.softmax(logits, dim=1)
    torch.testing.assert_close(training_probabilities(inputs, fraction), expected)
    bank = training_features(inputs, normalise=False, fraction=fraction)
    torch.testing.assert_close(bank.rows, logits)
    assert len(training_confidence(inputs, fraction)) == len(kept)


@pytest.mark.parametrize("of_logits", [training_confidence, training_probabilities])
def test_no_rows_are_refused(of_logits):
    with pytest.raises(DataError, match="the training split has no rows"):
        of_logits(inputs_of(0))
