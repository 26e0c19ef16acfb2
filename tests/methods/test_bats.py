import numpy as np
import pytest
import torch
from reference.bats import bats as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.bats import BATS, Config
from ltood.methods.energy import Energy


def inputs_of(g, deviations):
    arrays = {"weight": g["W"], "bias": g["b"], "bn_bias": g["bats_mean"], "bn_weight": deviations}
    return FitInputs(head=ClassifierHead.from_arrays(arrays))


def test_golden(himplos_golden):
    g = himplos_golden
    detector = BATS(Config(float(g["bats_lam"]))).fit(inputs_of(g, g["bats_std"]))
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(torch.tensor(g[f"{prefix}features"]))
        np.testing.assert_allclose(detector.score(batch), -g[f"{prefix}bats"], rtol=1e-5)


@pytest.mark.parametrize("lam", [0.3, 1.25])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, lam, scorer):
    g, features = himplos_golden, himplos_golden["features"][:8]
    detector = BATS(Config(lam, scorer=scorer)).fit(inputs_of(g, g["bats_std"]))
    rows = (g["W"], g["b"], g["bats_mean"], g["bats_std"])
    expected = [reference(f, *rows, lam, scorer) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_negative_weights_count_by_their_size(himplos_golden):
    g = himplos_golden
    signs = np.where(np.arange(64) % 3 == 0, -1, 1).astype(np.float32)
    batch = FeatureBatch.of(torch.tensor(g["features"]))
    plain = BATS().fit(inputs_of(g, g["bats_std"])).score(batch)
    crossed = inputs_of(g, g["bats_std"] * signs)
    assert torch.equal(BATS().fit(crossed).score(batch), plain)
    official = BATS(Config(official_crossed_bounds=True)).fit(crossed).score(batch)
    rows = (g["W"], g["b"], g["bats_mean"], g["bats_std"] * signs)
    expected = [reference(f, *rows, 1.0) for f in g["features"]]
    np.testing.assert_allclose(official, expected, rtol=1e-5)
    assert not torch.allclose(official, plain)


def test_crossed_bounds_give_the_lower_one():
    head = ClassifierHead.from_arrays(
        {
            "weight": np.eye(2),
            "bias": np.zeros(2),
            "bn_bias": np.zeros(2),
            "bn_weight": np.array([-1.0, 1.0]),
        }
    )
    config = Config(official_crossed_bounds=True, scorer="maxlogit")
    detector = BATS(config).fit(FitInputs(head=head))
    batch = FeatureBatch.of(torch.tensor([[-9.0, -9.0], [0.0, 0.0], [9.0, 9.0]]))
    assert detector.score(batch).tolist() == [-1.0, -1.0, -1.0]


def test_wide_bounds_are_energy(himplos_golden):
    g = himplos_golden
    inputs = inputs_of(g, np.ones(64, np.float32))
    batch = FeatureBatch.of(torch.tensor(g["features"]), head=inputs.head)
    got = BATS(Config(1e30)).fit(inputs).score(batch)
    torch.testing.assert_close(got, Energy().score(batch))


def test_a_head_without_batch_norm_is_refused(himplos_golden):
    head = ClassifierHead(torch.tensor(himplos_golden["W"]), torch.tensor(himplos_golden["b"]))
    with pytest.raises(
        MissingNeedError, match=r"fit needs .* batch-norm layer's .*, which it was not"
    ):
        BATS().fit(FitInputs(head=head))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lam": 0.0}, r"methods.bats.lam is 0.0"),
        ({"lam": float("inf")}, r"methods.bats.lam is inf"),
        ({"scorer": "odin"}, r"methods.bats.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.bats.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
