import numpy as np
import pytest
import torch
from reference import temperature_scaling as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.inputs import FitInputs, Need
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


def held_out_inputs(rng, val_labels=None, rows=400):
    """Training rows of temperature 4 and held-out ones of temperature 0.5."""
    train, val = (honest(rng, temperature, rows) for temperature in (4.0, 0.5))
    labels = torch.tensor(val[1] if val_labels is None else val_labels)
    ids = torch.arange(rows) * 3 + 7
    batches = (
        FeatureBatch.of(logits=torch.tensor(train[0]), labels=torch.tensor(train[1])),
        FeatureBatch.of(logits=torch.tensor(val[0]), labels=labels, ids=ids),
    )
    return FitInputs(train=TensorSource(batches[0], 5), val=TensorSource(batches[1], 5)), batches[1]


@pytest.mark.parametrize("fit_on", ["auto", "val"])
def test_held_out_rows_come_first_and_some_stay_untouched(rng, fit_on):
    inputs, val = held_out_inputs(rng)
    detector = TemperatureScaling(fit_on=fit_on, share=0.25, seed=3).fit(inputs)
    learned = detector.learned_rows(val.ids, val.labels)
    assert int(learned.sum()) == 100
    expected = reference.best_temperature(val.logits[learned].numpy(), val.labels[learned])
    assert detector.derived()["temperature"] == pytest.approx(expected, rel=1e-5)
    assert detector.findings() == {"fitted_on": "val"}
    restored = TemperatureScaling(fit_on=fit_on, share=0.25).restore(detector.state())
    assert torch.equal(restored.learned_rows(val.ids, val.labels), learned)
    assert restored.findings() == {"fitted_on": "val"}


def test_training_rows_can_be_asked_for_and_are_what_is_left(rng):
    inputs, val = held_out_inputs(rng)
    named = TemperatureScaling(fit_on="train").fit(inputs)
    unlabelled, _ = held_out_inputs(rng, np.full(400, -1))
    for detector in (named, TemperatureScaling().fit(unlabelled)):
        assert detector.derived()["temperature"] > 2
        assert detector.findings() == {"fitted_on": "train"}
        assert not detector.learned_rows(val.ids, val.labels).any()


def test_held_out_rows_without_logits_are_passed_over(rng):
    inputs, _ = held_out_inputs(rng)
    features = FeatureBatch.of(
        torch.zeros(400, 3), labels=torch.arange(400) % 5, ids=torch.arange(400)
    )
    bare = FitInputs(train=inputs.train, val=TensorSource(features, 5))
    assert TemperatureScaling().fit(bare).findings() == {"fitted_on": "train"}
    with pytest.raises(MissingNeedError, match="logits"):
        TemperatureScaling(fit_on="val").fit(bare)


def test_a_later_fit_on_training_rows_forgets_held_out_ones(rng):
    inputs, val = held_out_inputs(rng)
    detector = TemperatureScaling().fit(inputs)
    detector.fit(FitInputs(train=inputs.train))
    assert not detector.learned_rows(val.ids, val.labels).any()


def test_rows_without_a_class_are_left_out(rng):
    _, val = held_out_inputs(rng)
    labels = torch.where(torch.arange(400) % 2 == 0, -1, val.labels)
    some, val = held_out_inputs(rng, labels.numpy())
    detector = TemperatureScaling(fit_on="val", share=1.0).fit(some)
    assert torch.equal(detector.learned_rows(val.ids, val.labels), val.labels >= 0)


def test_what_is_named_must_be_there(rng):
    assert TemperatureScaling(fit_on="val").needs == {Need.VAL}
    assert TemperatureScaling(fit_on="train").needs == {Need.TRAIN}
    inputs, _ = held_out_inputs(rng, np.full(400, -1))
    with pytest.raises(DataError, match="share"):
        TemperatureScaling(fit_on="val").fit(inputs)
    with pytest.raises(MissingNeedError):
        TemperatureScaling(fit_on="val").fit(FitInputs(train=inputs.train))


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
