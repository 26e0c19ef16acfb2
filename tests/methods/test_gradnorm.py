import numpy as np
import pytest
import torch
from reference import gradnorm as reference
from torch.nn.functional import linear, log_softmax

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.methods.gradnorm import Config, GradNorm


def test_golden_himplos(himplos_golden):
    g = himplos_golden
    head = ClassifierHead(torch.tensor(g["W"]), torch.tensor(g["b"]))
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(torch.tensor(g[f"{prefix}features"]), head=head)
        # Theirs compares with one per class instead of 1/C, and is higher for ID.
        expected = g[f"{prefix}gradnorm"] / -len(g["b"])
        np.testing.assert_allclose(GradNorm().score(batch), expected, rtol=1e-5)


def test_golden_imood(imood_golden):
    g = imood_golden
    head = ClassifierHead(torch.tensor(g["W_in"]), torch.tensor(g["b_in"]))
    for split in ("id", "ood"):
        batch = FeatureBatch.of(torch.tensor(g[f"{split}_feats"]), head=head)
        expected = g[f"f64_score_gradnorm_{split}"]
        np.testing.assert_allclose(GradNorm().score(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_reference(rng, temperature):
    features = rng.normal(size=(12, 9)).astype(np.float32)
    logits = rng.normal(scale=3, size=(12, 5)).astype(np.float32)
    expected = [
        reference.gradnorm(f, z, temperature=temperature)
        for f, z in zip(features, logits, strict=True)
    ]
    batch = FeatureBatch.of(torch.tensor(features), torch.tensor(logits))
    np.testing.assert_allclose(GradNorm(Config(temperature)).score(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_closed_form_equals_autograd(temperature):
    feature = torch.randn(8, dtype=torch.float64)
    weight = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    logits = linear(feature, weight)
    (-log_softmax(logits / temperature, dim=0).mean()).backward()
    batch = FeatureBatch.of(feature[None].float(), logits.detach()[None].float())
    got = float(GradNorm(Config(temperature)).score(batch))
    assert got == pytest.approx(-float(weight.grad.abs().sum()), rel=1e-5)


def test_extremes():
    features = torch.tensor([[0.0, 0.0], [1.0, -3.0], [1.0, -3.0]])
    logits = torch.tensor([[5.0, -5.0], [0.0, 0.0], [3e38, -3e38]])
    assert GradNorm().score(FeatureBatch.of(features, logits)).tolist() == [0.0, 0.0, -4.0]


@pytest.mark.parametrize("temperature", [0.0, -2.0, float("nan"), float("inf")])
def test_temperature_must_divide(temperature):
    with pytest.raises(ConfigError, match=r"methods.gradnorm.temperature is "):
        Config(temperature)
