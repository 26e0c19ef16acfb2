import numpy as np
import pytest
import torch
from reference.lts import lts as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.energy import Energy
from ltood.methods.lts import LTS, Config


@pytest.mark.parametrize("percentile", [0.0, 33.3, 95.0, 100.0])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, percentile, scorer):
    features = np.concatenate(
        [himplos_golden["features"][:6], himplos_golden["features"][:4] - 0.5]
    )
    logits = himplos_golden["logits"][:10]
    detector = LTS(Config(percentile, scorer, temperature=2.0))
    pairs = zip(features, logits, strict=True)
    expected = [reference(f, z, percentile, scorer, 2.0) for f, z in pairs]
    got = detector.score(FeatureBatch.of(torch.tensor(features), torch.tensor(logits)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_factor_of_known_rows():
    batch = FeatureBatch.of(torch.tensor([[2.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), torch.ones(3, 2))
    scores = LTS(Config(100.0, scorer="maxlogit")).score(batch)
    assert scores.tolist() == pytest.approx([-2.25, -1.0, -1.0])


def test_all_activations_give_energy(himplos_golden):
    features, logits = (torch.tensor(himplos_golden[name]) for name in ("features", "logits"))
    batch = FeatureBatch.of(features, logits)
    torch.testing.assert_close(LTS(Config(0.0)).score(batch), Energy().score(batch))


def test_negative_activations_do_not_turn_the_factor():
    batch = FeatureBatch.of(torch.tensor([[2.0, -8.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    assert LTS(Config(100.0, scorer="maxlogit")).score(batch).item() == -2.25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 100.5}, r"methods.lts.percentile is 100.5"),
        ({"scorer": "odin"}, r"methods.lts.scorer is 'odin'"),
        ({"temperature": -1.0}, r"methods.lts.temperature is -1.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
