import numpy as np
import pytest
import torch
from reference.ash import ash as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.ash import ASH, Config
from ltood.methods.energy import Energy
from ltood.ops.shaping import binarise


@pytest.fixture
def inputs(himplos_golden):
    g = himplos_golden
    return FitInputs(head=ClassifierHead(torch.tensor(g["W"]), torch.tensor(g["b"])))


@pytest.mark.parametrize("variant", ["p", "s"])
def test_golden(himplos_golden, inputs, variant):
    percentile = float(himplos_golden["p"])
    detector = ASH(Config(variant, percentile, official_exponent=False)).fit(inputs)
    for prefix in ("", "ood_"):
        features = himplos_golden[f"{prefix}features"]
        expected = -himplos_golden[f"{prefix}ash_{variant}"]
        # The official code divides zero by zero where a feature is zero.
        rows = np.isfinite(expected)
        assert rows[features.any(axis=1)].all()
        got = detector.score(FeatureBatch.of(torch.tensor(features)))
        assert torch.isfinite(got).all()
        np.testing.assert_allclose(got[torch.tensor(rows)], expected[rows], rtol=1e-5)


@pytest.mark.parametrize("variant", ["p", "b", "s"])
@pytest.mark.parametrize("percentile", [0.0, 65.0, 90.0, 100.0])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, inputs, variant, percentile, scorer):
    g = himplos_golden
    features = np.concatenate([g["features"][:6], g["features"][:4] - 0.5])
    detector = ASH(Config(variant, percentile, scorer=scorer)).fit(inputs)
    expected = [reference(f, g["W"], g["b"], variant, percentile, scorer) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_exponents_differ_by_one(himplos_golden, inputs):
    features = himplos_golden["features"][:3]
    detector = ASH(Config("s", 90.0, official_exponent=False)).fit(inputs)
    g = himplos_golden
    expected = [reference(f, g["W"], g["b"], "s", 90.0, minus=1.0) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_zeros_are_not_raised():
    features = torch.tensor([[0.0, 0.0, 0.0, 0.0, 3.0, 1.0], [0.0] * 6])
    assert binarise(features, 50.0).tolist() == [[0, 0, 0, 0, 2, 2], [0.0] * 6]


@pytest.mark.parametrize("variant", ["p", "b", "s"])
def test_zero_feature_scores_as_the_bias(inputs, variant):
    zero = FeatureBatch.of(torch.zeros(1, 64), head=inputs.head)
    got = ASH(Config(variant)).fit(inputs).score(zero)
    torch.testing.assert_close(got, Energy().score(zero))


def test_nothing_pruned_is_energy(himplos_golden, inputs):
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]), head=inputs.head)
    got = ASH(Config("p", 0.0)).fit(inputs).score(batch)
    torch.testing.assert_close(got, Energy().score(batch))


@pytest.mark.parametrize("variant", ["p", "b", "s"])
def test_wide_flat_features_stay_finite(variant):
    head = ClassifierHead(torch.randn(3, 512), torch.zeros(3))
    features = 1 + torch.rand(5, 512) / 100
    detector = ASH(Config(variant, 99.9)).fit(FitInputs(head=head))
    assert torch.isfinite(detector.score(FeatureBatch.of(features))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "S"}, r"methods.ash.variant is 'S'"),
        ({"percentile": -1.0}, r"methods.ash.percentile is -1.0"),
        ({"scorer": "odin"}, r"methods.ash.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.ash.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
