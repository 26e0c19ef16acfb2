import numpy as np
import pytest
import torch
from reference.nci import nci

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.nci import NCI, Config


def scored(rows, weight, bias, train, **settings):
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    labels = torch.arange(len(train)) % len(bias)
    inputs = FitInputs.of(torch.tensor(train), labels, head=head)
    batch = FeatureBatch.of(torch.tensor(rows), head=head)
    return NCI(Config(**settings)).fit(inputs).score(batch)


def made(rng, dim=6, classes=3):
    shapes = {"rows": (8, dim), "weight": (classes, dim), "bias": (classes,), "train": (20, dim)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("dim", [6, 512])
def test_reference(rng, alpha, dim):
    case = made(rng, dim)
    case["rows"][0] = 0
    names = ("weight", "bias", "train")
    expected = [nci(row, *(case[name] for name in names), alpha) for row in case["rows"]]
    np.testing.assert_allclose(scored(**case, alpha=alpha), expected, rtol=1e-5, atol=1e-5)


def test_a_row_at_the_mean_has_no_direction(rng):
    case = made(rng)
    case["train"][:], case["rows"][0] = 3.0, 3.0
    assert scored(**case, alpha=0.5)[0] == pytest.approx(-0.5 * 6 * 3)


def test_an_empty_head_leaves_the_norm(rng):
    case = made(rng)
    case["weight"][:] = 0
    expected = -0.1 * np.abs(case["rows"]).sum(axis=1)
    np.testing.assert_allclose(scored(**case, alpha=0.1), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_alpha_must_not_be_negative(alpha):
    with pytest.raises(ConfigError, match=r"methods.nci.alpha is "):
        Config(alpha=alpha)
