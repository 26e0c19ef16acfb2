import numpy as np
import pytest
import torch
from reference import temperature_scaling as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.methods.msp import MSP
from ltood.methods.msp import Config as MSPConfig
from ltood.methods.temperature_scaling import TemperatureScaling


def fitted(logits, labels):
    batch = FeatureBatch.of(logits=torch.tensor(logits), labels=torch.tensor(labels))
    return TemperatureScaling().fit(FitInputs(TensorSource(batch, logits.shape[1])))


def honest(rng, temperature, rows=400):
    """Logits whose labels are drawn from their softmax at `temperature`."""
    logits = rng.normal(scale=3, size=(rows, 5)).astype(np.float32)
    shares = torch.softmax(torch.tensor(logits) / temperature, dim=1)
    return logits, torch.multinomial(shares, 1)[:, 0].numpy()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_reference(rng, temperature):
    logits, labels = honest(rng, temperature, rows=80)
    expected = reference.best_temperature(logits, labels)
    detector = fitted(logits, labels)
    assert detector.derived()["temperature"] == pytest.approx(expected, rel=1e-5)
    got = detector.score(FeatureBatch.of(logits=torch.tensor(logits[:20])))
    rows = [reference.score(row, expected) for row in logits[:20]]
    np.testing.assert_allclose(got, rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_it_finds_the_temperature_that_made_the_labels(rng, temperature):
    detector = fitted(*honest(rng, temperature, rows=20_000))
    assert detector.derived()["temperature"] == pytest.approx(temperature, rel=0.05)


def test_it_ranks_as_msp_and_has_its_probability(rng):
    logits, labels = honest(rng, 2.0)
    detector, batch = fitted(logits, labels), FeatureBatch.of(logits=torch.tensor(logits))
    msp = MSP(MSPConfig(detector.derived()["temperature"])).score(batch)
    # p is the sigmoid of the log odds for it.
    torch.testing.assert_close(-torch.sigmoid(-detector.score(batch)), msp)


def test_confident_rows_do_not_tie(rng):
    rows = torch.zeros(20, 5)
    rows[:, :2] = torch.linspace(100.0, 200.0, 20)[:, None]
    scores = fitted(*honest(rng, 1.0)).score(FeatureBatch.of(logits=rows))
    assert torch.isfinite(scores).all()
    rows[:, 1] = 0
    scores = fitted(*honest(rng, 1.0)).score(FeatureBatch.of(logits=rows))
    assert (scores.diff() < 0).all()


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([[5.0, 0.0], [0.0, 5.0]], 0.01),  # all right: the sharper the better
        ([[0.0, 5.0], [5.0, 0.0]], 100.0),  # all wrong: the flatter the better
    ],
)
def test_the_temperature_has_limits(logits, expected):
    detector = fitted(np.array(logits, dtype=np.float32), np.array([0, 1]))
    assert detector.derived()["temperature"] == pytest.approx(expected, rel=1e-3)


def test_rows_without_differences_stay_finite():
    detector = fitted(np.zeros((4, 3), dtype=np.float32), np.array([0, 1, 2, 2]))
    score = detector.score(FeatureBatch.of(logits=torch.zeros(1, 3)))
    assert float(score) == pytest.approx(np.log(2))


def test_rows_and_labels_are_checked():
    with pytest.raises(DataError, match="the training split has no rows"):
        fitted(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="the training split holds the label 3"):
        fitted(np.zeros((1, 3), dtype=np.float32), np.array([3]))


def test_one_class_has_no_temperature():
    batch = FeatureBatch.of(None, torch.ones(3, 1), labels=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DataError, match="the head has 1 class, whose probability is always 1"):
        TemperatureScaling().fit(FitInputs(TensorSource(batch, 1)))
