import numpy as np
import pytest
import torch
from reference.vra import vra as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.methods.energy import Energy
from ltood.methods.react import Config as ReActConfig
from ltood.methods.react import ReAct
from ltood.methods.vra import VRA, Config, rectify


@pytest.fixture
def inputs(himplos_golden):
    g = {key: torch.tensor(himplos_golden[key]) for key in ("W", "b", "train_features")}
    labels = torch.tensor(himplos_golden["train_labels"])
    return FitInputs.of(g["train_features"], labels, head=ClassifierHead(g["W"], g["b"]))


@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, inputs, gamma, scorer):
    g, features = himplos_golden, himplos_golden["features"][:8]
    detector = VRA(Config(0.25, clip=0.75, gamma=gamma, scorer=scorer)).fit(inputs)
    expected = [reference(f, g["W"], g["b"], 0.25, 0.75, gamma, scorer) for f in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_thresholds_themselves_pass():
    features = torch.tensor([[0.9, 1.0, 1.5, 2.0, 2.1, -3.0]])
    got = rectify(features, torch.tensor(1.0), torch.tensor(2.0), 0.5)
    assert got.tolist() == [[0.0, 1.5, 2.0, 2.5, 2.0, 0.0]]


def test_auto_thresholds_are_percentiles_of_training(himplos_golden, inputs):
    train = himplos_golden["train_features"].astype(np.float64)
    low, high = np.percentile(train, [60, 98])
    found = VRA(Config(scope="all", clip_percentile=98)).fit(inputs).derived()
    assert found == {"floor": pytest.approx(low, rel=1e-6), "clip": pytest.approx(high, rel=1e-6)}


def test_auto_thresholds_are_percentiles_of_each_feature(himplos_golden, inputs):
    g = himplos_golden
    low, high = np.percentile(g["train_features"].astype(np.float64), [60, 90], axis=0)
    detector = VRA().fit(inputs)
    np.testing.assert_allclose(detector.floor_, low, rtol=1e-6)
    np.testing.assert_allclose(detector.clip_, high, rtol=1e-6)
    assert detector.derived() == {
        "mean_floor": pytest.approx(low.mean(), rel=1e-6),
        "mean_clip": pytest.approx(high.mean(), rel=1e-6),
    }
    shaped = [np.where(f < low, 0, np.minimum(f, high)) for f in g["features"].astype(np.float64)]
    expected = [reference(f, g["W"], g["b"], -np.inf, np.inf, 0.0) for f in shaped]
    got = detector.score(FeatureBatch.of(torch.tensor(g["features"])))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_one_threshold_may_be_given_and_the_other_found(himplos_golden, inputs):
    found = VRA(Config(floor=0.0)).fit(inputs)
    high = np.percentile(himplos_golden["train_features"].astype(np.float64), 90, axis=0)
    np.testing.assert_allclose(found.clip_, high, rtol=1e-6)
    assert found.floor_ == 0
    low = VRA(Config(clip=float(np.sort(high)[2]) / 2)).fit(inputs)
    got = low.score(FeatureBatch.of(torch.tensor(himplos_golden["features"])))
    assert torch.isfinite(got).all()


def test_percentiles_of_features_must_not_cross(inputs):
    for config in (Config(floor_percentile=95.0), Config(floor=1e9), Config(clip=1e-9)):
        with pytest.raises(ConfigError, match=r"methods.vra has the floor \S+ above the clip"):
            VRA(config).fit(inputs)


def test_without_floor_it_is_react(himplos_golden, inputs):
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]))
    got = VRA(Config(None, clip=0.7)).fit(inputs).score(batch)
    assert torch.equal(got, ReAct(ReActConfig(clip=0.7)).fit(inputs).score(batch))


def test_without_thresholds_it_is_energy(himplos_golden, inputs):
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]) - 0.5, head=inputs.head)
    detector = VRA(Config(None, clip=None)).fit(FitInputs(head=inputs.head))
    torch.testing.assert_close(detector.score(batch), Energy().score(batch))
    assert detector.derived() == {}


def test_training_rows_are_needed_for_auto_only():
    assert VRA(Config(0.1, clip=None)).needs == {Need.HEAD}
    for config in (Config(0.1), Config(clip=2.0), Config(None)):
        assert VRA(config).needs == {Need.HEAD, Need.TRAIN}


def test_mostly_zero_activations_stay_finite(himplos_golden):
    head = ClassifierHead(torch.tensor(himplos_golden["W"]), torch.tensor(himplos_golden["b"]))
    train = torch.zeros(20, 64)
    inputs = FitInputs.of(train, torch.arange(20) % 10, head=head)
    assert torch.isfinite(VRA().fit(inputs).score(FeatureBatch.of(torch.rand(3, 64)))).all()


@pytest.mark.parametrize("config", [Config(2.0, clip=1.0), Config(floor_percentile=99.0)])
def test_floor_above_clip_is_refused(inputs, config):
    with pytest.raises(ConfigError, match=r"methods.vra has the floor \S+ above the clip \S+; low"):
        VRA(config).fit(inputs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"floor": "low"}, r"methods.vra.floor is 'low'"),
        ({"floor": float("nan")}, r"methods.vra.floor is nan"),
        ({"floor_percentile": -1.0}, r"methods.vra.floor_percentile is -1.0"),
        ({"clip": 0.0}, r"methods.vra.clip is 0.0"),
        ({"clip_percentile": 101.0}, r"methods.vra.clip_percentile is 101.0"),
        ({"gamma": -0.1}, r"methods.vra.gamma is -0.1"),
        ({"scorer": "odin"}, r"methods.vra.scorer is 'odin'"),
        ({"temperature": 0.0}, r"methods.vra.temperature is 0.0"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)
