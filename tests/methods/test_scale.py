import numpy as np
import pytest
import torch
from reference.scale import scale as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.energy import Energy
from ltood.methods.scale import SCALE, Config


@pytest.fixture
def inputs(himplos_golden):
    g = himplos_golden
    return FitInputs(head=ClassifierHead(torch.tensor(g["W"]), torch.tensor(g["b"])))


@pytest.mark.parametrize("percentile", [0.0, 33.3, 85.0, 100.0])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, inputs, percentile, scorer):
    g = himplos_golden
    features = np.concatenate([g["features"][:6], g["features"][:4] - 0.5])
    detector = SCALE(Config(percentile, scorer, temperature=2.0)).fit(inputs)
    expected = [reference(f, g["W"], g["b"], percentile, scorer, 2.0) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_factor_of_known_rows():
    head = ClassifierHead(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2))
    detector = SCALE(Config(100.0, scorer="maxlogit")).fit(FitInputs(head=head))
    batch = FeatureBatch.of(torch.tensor([[2.0, 2.0], [3.0, 0.0], [2.0, 1.0]]))
    expected = [-2 * np.exp(2.0), -3 * np.e, -2 * np.exp(1.5)]
    assert detector.score(batch).tolist() == pytest.approx(expected)


def test_zero_feature_scores_as_the_bias(inputs):
    zero = FeatureBatch.of(torch.zeros(1, 64), head=inputs.head)
    torch.testing.assert_close(SCALE().fit(inputs).score(zero), Energy().score(zero))


def test_wide_flat_features_stay_finite():
    head = ClassifierHead(torch.randn(3, 512), torch.zeros(3))
    features = 1 + torch.rand(5, 512) / 100
    detector = SCALE(Config(99.9)).fit(FitInputs(head=head))
    assert torch.isfinite(detector.score(FeatureBatch.of(features))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 100.5}, r"methods.scale.percentile is 100.5"),
        ({"scorer": "odin"}, r"methods.scale.scorer is 'odin'"),
        ({"temperature": -1.0}, r"methods.scale.temperature is -1.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
