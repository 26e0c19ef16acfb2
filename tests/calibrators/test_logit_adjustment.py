from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference import scores as reference
from reference.logit_adjustment import adjusted

from ltood.calibrators.logit_adjustment import Config, LogitAdjustment
from ltood.calibrators.none import NoCalibration
from ltood.core.building import EntrySpec, build_calibrator
from ltood.core.errors import ConfigError, DataError, NotFittedError
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.deployment.images import _compare_heads
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession, fit_calibrator, restore_calibrator
from ltood.store.exchange import import_folder

COUNTS = (60, 25, 10, 5)


def fitted(tau=1.0, counts=COUNTS):
    inputs = FitInputs(prior=ClassPrior(np.array(counts)))
    return LogitAdjustment(Config(tau)).fit(inputs)


@pytest.fixture
def store(tmp_path, rng):
    folder = tmp_path / "in"
    folder.mkdir()
    weight, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
    np.savez(folder / "head.npz", weight=weight, bias=bias)
    labels = np.repeat(np.arange(4), COUNTS)
    np.savez(folder / "train.npz", features=np.abs(rng.normal(size=(100, 6))), labels=labels)
    np.savez(folder / "test.npz", features=np.abs(rng.normal(size=(20, 6))), labels=labels[::5])
    np.savez(folder / "ood_far.npz", features=np.abs(rng.normal(size=(15, 6))))
    return import_folder(folder, tmp_path / "features.zarr")


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_reference(tau):
    logits = torch.randn(6, 4)
    before = logits.clone()
    expected = [adjusted(row, COUNTS, tau) for row in logits.tolist()]
    np.testing.assert_allclose(fitted(tau).adjust_logits(logits), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(logits, before)


def test_softmax_is_divided_by_the_prior():
    logits = torch.randn(3, 4)
    wanted = torch.softmax(logits, dim=1) / torch.tensor(COUNTS)
    wanted /= wanted.sum(dim=1, keepdim=True)
    torch.testing.assert_close(torch.softmax(fitted().adjust_logits(logits), dim=1), wanted)


def test_features_stay_and_other_calibrators_leave_logits():
    features, logits = torch.randn(3, 6), torch.randn(3, 4)
    assert fitted()._transform(features) is features
    assert NoCalibration()._adjust_logits(logits) is logits


def test_the_gain_of_the_rarest_is_reported():
    assert fitted(0.5).derived() == {"gain_of_rarest": pytest.approx(0.5 * np.log(12))}


@pytest.mark.parametrize("clip", [None, 0.6])
def test_methods_see_it_in_batches_and_in_the_head(store, tmp_path, clip):
    """ReAct computes logits from the head, energy takes those of the batch."""
    calibrator = EntrySpec("logit_adjustment", {"tau": 1.5})
    method = EntrySpec("energy") if clip is None else EntrySpec("react", {"clip": clip})
    result = score_store(store, tmp_path / "s.zarr", method, calibrator, device="cpu")
    head = store.head_arrays()
    for name in ("test", "ood_far"):
        features = store.split(name).load(("features",))["features"]
        expected, predicted = [], []
        for row in features:
            clipped = np.minimum(row, np.inf if clip is None else clip)
            plain, shaped = (
                adjusted(reference.head_logits(x, head["weight"], head["bias"]), COUNTS, 1.5)
                for x in (row, clipped)
            )
            expected.append(reference.score(shaped))
            predicted.append(int(np.argmax(plain)))
        np.testing.assert_allclose(result.split(name).scores, expected, rtol=1e-4)
        np.testing.assert_array_equal(result.split(name).predictions, predicted)


def test_seeing_through_it_twice_adjusts_once(store):
    session = ScoringSession.open(store, "cpu")
    entry = fit_calibrator(session, build_calibrator(EntrySpec("logit_adjustment")))
    once = restore_calibrator(session, entry)
    twice = restore_calibrator(once, entry)
    assert not torch.allclose(once.head.bias, session.head.bias)
    assert torch.equal(twice.head.bias, once.head.bias)
    assert torch.equal(twice.with_calibrator(None).head.bias, session.head.bias)


def test_an_exported_head_is_compared_with_an_adjusted_one(store):
    session = ScoringSession.open(store, "cpu")
    seen = restore_calibrator(
        session, fit_calibrator(session, build_calibrator(EntrySpec("logit_adjustment")))
    )
    detector = SimpleNamespace(head=seen.head, calibrator=seen.calibrator)
    arrays = store.head_arrays()
    same = SimpleNamespace(has_head=True, head_arrays=lambda: dict(arrays))
    _compare_heads("folder", same, detector)
    other = {**arrays, "bias": arrays["bias"] + 1}
    differing = SimpleNamespace(has_head=True, head_arrays=lambda: other)
    with pytest.raises(DataError, match=r"the head of folder is not the detector's \(bias differs"):
        _compare_heads("folder", differing, detector)


def test_unfitted_logits_are_refused():
    with pytest.raises(NotFittedError, match="logit_adjustment is not fitted"):
        LogitAdjustment().adjust_logits(torch.zeros(1, 4))


def test_a_class_without_samples_is_refused():
    with pytest.raises(DataError, match=r"classes \[2\] have no training images"):
        fitted(counts=(3, 2, 0, 1))


@pytest.mark.parametrize("tau", [-1.0, float("inf"), float("nan")])
def test_range(tau):
    with pytest.raises(ConfigError, match=r"calibrators.logit_adjustment.tau is \S+"):
        Config(tau)
