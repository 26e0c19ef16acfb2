import numpy as np
import pytest
import torch
from reference.t_norm import t_norm as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.energy import Energy
from ltood.methods.t_norm import Config, TNorm, normalised_weight


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, tau, scorer):
    g = himplos_golden
    inputs = FitInputs(head=ClassifierHead(torch.tensor(g["W"]), torch.tensor(g["b"])))
    detector = TNorm(Config(tau, scorer, temperature=2.0)).fit(inputs)
    expected = [reference(row, g["W"], tau, scorer, 2.0) for row in g["features"][:8]]
    got = detector.score(FeatureBatch.of(torch.tensor(g["features"][:8])))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_all_classes_get_the_norm_one():
    weight = torch.tensor([[3.0, 4.0], [1e-30, 0.0], [1e30, 1e30], [0.0, 0.0]])
    norms = normalised_weight(weight, 1.0).norm(dim=1)
    assert norms.tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0])
    assert weight[0, 0] == 3


def test_tau_zero_only_drops_the_bias(himplos_golden):
    weight, features = (torch.tensor(himplos_golden[name]) for name in ("W", "features"))
    head = ClassifierHead(weight, torch.zeros(10))
    biased = ClassifierHead(weight, torch.arange(10.0))
    got = TNorm(Config(0.0)).fit(FitInputs(head=biased)).score(FeatureBatch.of(features))
    expected = Energy().score(FeatureBatch.of(features, head=head))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": -0.5}, r"methods.t_norm.tau is -0.5"),
        ({"tau": float("nan")}, r"methods.t_norm.tau is nan"),
        ({"scorer": "odin"}, r"methods.t_norm.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.t_norm.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
