import numpy as np
import pytest
import torch
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.methods.energy import Energy
from ltood.methods.react import Config, ReAct


@pytest.fixture
def inputs(himplos_golden):
    g = {key: torch.tensor(himplos_golden[key]) for key in ("W", "b", "train_features")}
    labels = torch.tensor(himplos_golden["train_labels"])
    return FitInputs.of(g["train_features"], labels, head=ClassifierHead(g["W"], g["b"]))


def test_golden(himplos_golden, inputs):
    detector = ReAct(Config(clip=float(himplos_golden["clip"]))).fit(inputs)
    for prefix in ("", "ood_"):
        batch = FeatureBatch.of(torch.tensor(himplos_golden[f"{prefix}features"]))
        expected = -himplos_golden[f"{prefix}react"]
        np.testing.assert_allclose(detector.score(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_reference(himplos_golden, inputs, scorer):
    g, features = himplos_golden, himplos_golden["features"][:8]
    detector = ReAct(Config(clip=0.7, scorer=scorer)).fit(inputs)
    expected = [reference.react(row, g["W"], g["b"], np.float32(0.7), scorer) for row in features]
    got = detector.score(FeatureBatch.of(torch.tensor(features)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("clip", [None, float("inf"), 1e30])
def test_no_clip_is_energy(himplos_golden, inputs, clip):
    batch = FeatureBatch.of(torch.tensor(himplos_golden["features"]), head=inputs.head)
    got = ReAct(Config(clip=clip)).fit(inputs).score(batch)
    torch.testing.assert_close(got, Energy().score(batch), rtol=1e-6, atol=1e-6)


def test_auto_is_the_98th_percentile_of_training(himplos_golden, inputs):
    detector = ReAct().fit(inputs)
    expected = np.percentile(himplos_golden["train_features"].astype(np.float64), 98)
    assert detector.derived()["clip"] == pytest.approx(expected, rel=1e-6)
    assert ReAct(Config(percentile=50.0)).fit(inputs).derived()["clip"] < expected


def test_training_rows_are_needed_for_auto_only(inputs):
    without = FitInputs(head=inputs.head)
    for clip in (1.5, None):
        detector = ReAct(Config(clip=clip))
        assert detector.needs == {Need.HEAD}
        assert detector.fit(without).derived() == ({"clip": 1.5} if clip else {})
    assert ReAct().needs == {Need.HEAD, Need.TRAIN}


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), "none"])
def test_clip_must_be_positive(clip):
    with pytest.raises(ConfigError, match=r"methods.react.clip is "):
        Config(clip=clip)


def test_other_ranges():
    with pytest.raises(ConfigError, match=r"methods.react.percentile is 101.0"):
        Config(percentile=101.0)
    with pytest.raises(ConfigError, match=r"methods.react.scorer is 'odin'"):
        Config(scorer="odin")
    with pytest.raises(ConfigError, match=r"methods.react.temperature is 0"):
        Config(temperature=0)
