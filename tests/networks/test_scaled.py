import torch

from ltood.networks.scaled import rename


def test_renaming_loses_no_tensor():
    state = {"linear.bias": torch.zeros(1), "fc.bias": torch.ones(1), "other": torch.ones(2)}
    renamed = rename(state, {"linear.": "head.", "fc.": "head."})
    assert list(renamed) == ["head.bias", "fc.bias", "other"]
