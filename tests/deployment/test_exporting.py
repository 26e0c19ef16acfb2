"""Fitting a detector to deploy, and its threshold."""

import math

import numpy as np
import pytest
import torch
from conftest import COUNTS

from ltood.core.building import EntrySpec
from ltood.core.errors import (
    ConfigError,
    DataError,
    StoreError,
)
from ltood.deployment.exporting import choose_threshold_split, fit_detector, threshold_at
from ltood.methods import energy
from ltood.methods.energy import Energy
from ltood.scoring.session import ScoringSession
from ltood.store.exchange import import_folder
from tests.deployment.detector_samples import write_folder


@pytest.mark.parametrize(
    ("tpr", "wanted"), [(0.95, 18.0), (0.951, 19.0), (1.0, 19.0), (0.05, 0.0), (1e-6, 0.0)]
)
def test_threshold_accepts_at_least_the_share(tpr, wanted):
    scores = np.random.default_rng(0).permutation(np.arange(20.0))
    assert threshold_at(scores, tpr) == wanted


def test_threshold_against_a_loop(rng):
    scores = rng.integers(0, 30, size=137).astype(np.float32)
    for percent in range(1, 101):
        fine = [s for s in scores if sum(scores <= s) * 100 >= percent * len(scores)]
        assert threshold_at(scores, percent / 100) == min(fine)


def test_threshold_and_verdict(detector, rows):
    recorded = detector.description["threshold"]
    found = detector.predict(rows)
    # Split val holds the rows of split test here.
    assert recorded["split"] == "val"
    assert recorded["accepted"] == float((~found.is_ood).double().mean())
    assert recorded["accepted"] >= recorded["tpr"] == 0.9
    assert detector.threshold in found.scores.tolist()
    assert torch.equal(found.is_ood, found.scores > detector.threshold)


class Learned(Energy):
    """Has learned from some rows of split val: all below a limit."""

    limit = 30

    def learned_rows(self, ids, labels):
        assert labels.tolist() == (ids % len(COUNTS)).tolist()
        return ids < self.limit


def test_rows_that_were_learned_from_set_no_threshold(store, monkeypatch):
    monkeypatch.setattr(energy, "Entry", Learned)
    found = fit_detector(store, EntrySpec("energy"), tpr=0.8, device="cpu")
    (val,) = ScoringSession.open(store, "cpu").source("val").batches()
    scores = found.score(val.features)
    assert found.description["threshold"]["rows"] == len(scores) - 30
    assert found.threshold == threshold_at(scores[30:], 0.8)
    # They are rows of split val; a row of another split may have the same id.
    named = fit_detector(store, EntrySpec("energy"), threshold_split="test", device="cpu")
    assert named.description["threshold"]["rows"] == len(scores)
    monkeypatch.setattr(Learned, "limit", 1000)
    with pytest.raises(DataError, match="has learned from all 40 rows of val"):
        fit_detector(store, EntrySpec("energy"), device="cpu")


@pytest.mark.parametrize("tpr", [0.0, -1.0, 1.01, math.nan])
def test_tpr_out_of_range(tpr, store):
    with pytest.raises(ConfigError, match="it is the share of ID rows to accept"):
        fit_detector(store, EntrySpec("energy"), tpr=tpr, device="cpu")


@pytest.mark.parametrize("scores", [[], [1.0, math.nan]])
def test_threshold_needs_scores(scores):
    with pytest.raises(DataError, match="a threshold needs finite scores of ID rows"):
        threshold_at(scores, 0.95)


def test_split_of_the_threshold(store, tmp_path):
    assert choose_threshold_split(store, None) == "val"
    assert choose_threshold_split(store, "test") == "test"
    for wrong in ("ood_far", "aux", "valid"):
        with pytest.raises(StoreError, match="ID splits are train, val, test"):
            choose_threshold_split(store, wrong)
    (tmp_path / "arrays").mkdir()
    write_folder(tmp_path / "arrays", val=False)
    without = import_folder(tmp_path / "arrays", tmp_path / "without.zarr")
    with pytest.raises(StoreError, match=r"no split val .* --threshold-split"):
        fit_detector(without, EntrySpec("energy"), device="cpu")
    named = fit_detector(without, EntrySpec("energy"), threshold_split="test", device="cpu")
    assert named.description["threshold"]["split"] == "test"


def test_training_rows_are_needed(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train.npz").unlink()
    store = import_folder(tmp_path, tmp_path / "f.zarr")
    with pytest.raises(StoreError, match="has no split train"):
        fit_detector(store, EntrySpec("energy"), device="cpu")
