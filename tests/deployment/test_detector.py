"""Deployed detectors give the scores of the pipeline, and the nearest classes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from conftest import COUNTS, DIM
from torch.nn.functional import normalize

from ltood.core.building import EntrySpec
from ltood.core.errors import (
    DataError,
    LtoodError,
    MissingNeedError,
)
from ltood.core.extras import EXTRAS
from ltood.core.head import ClassifierHead
from ltood.core.registry import TRANSDUCTIVE, available, constant, flag
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.exporting import fit_detector
from ltood.deployment.files import load_detector, save_detector
from ltood.scoring.run import score_store

#: Methods steeper than one, whose scores amplify the rounding of logits that are computed for
#: other numbers of rows at once: here a Weibull distribution of shape 66.
STEEP = {"openmax": 5e-4}
#: Methods that compare scores with those of rows of split val, which here are the rows of split
#: test: a score that rounds otherwise in other batches is above or below its equal.
RANKS_VAL = ("ensemble",)


def check_against_pipeline(store, folder, tmp_path, method, calibrator, normaliser):
    slots = (EntrySpec(method), EntrySpec(calibrator), normaliser)
    wanted = score_store(store, tmp_path / "scores", *slots, device="cpu")
    save_detector(tmp_path / "d.safetensors", fit_detector(store, *slots, device="cpu"))
    loaded = load_detector(tmp_path / "d.json", "cpu")
    assert loaded.description["method"] == wanted.attributes["method"]
    assert loaded.description["normaliser"] == wanted.attributes["normaliser"]
    for split in ("ood_far",) if method in RANKS_VAL else ("test", "ood_far"):
        with np.load(folder / f"{split}.npz") as archive:
            found = loaded.predict(archive["features"], local=archive["local"])
        expected = wanted.split(split)
        close = STEEP.get(method, 2e-5)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=close, atol=close)
        assert found.classes.tolist() == list(expected.predictions)


#: A detector scores row by row; methods of streams are refused (tests/cli/test_streams.py).
#: So are those that read extra arrays (tests/scoring/test_extra_arrays.py).
METHODS = [
    name
    for name in available("methods")
    if not flag("methods", name, TRANSDUCTIVE) and not constant("methods", name, EXTRAS)
]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_scores_as_in_the_pipeline(method, store, folder, tmp_path):
    check_against_pipeline(store, folder, tmp_path, method, "none", EntrySpec("none"))


@pytest.mark.parametrize("calibrator", available("calibrators"))
@pytest.mark.parametrize("normaliser", available("normalisers"))
def test_every_slot_scores_as_in_the_pipeline(calibrator, normaliser, store, folder, tmp_path):
    settings = {"scale": 0.5} if normaliser == "imood" else {}
    check_against_pipeline(
        store, folder, tmp_path, "react", calibrator, EntrySpec(normaliser, settings)
    )


def test_patches_are_calibrated_as_in_the_pipeline(store, folder, tmp_path):
    check_against_pipeline(store, folder, tmp_path, "l_mcm", "patt", EntrySpec("none"))


def test_batch_and_single_rows_agree(detector, rows):
    whole = detector.score(rows)
    assert whole.dtype == torch.float32
    single = torch.cat([detector.score(row) for row in torch.tensor(rows)])
    torch.testing.assert_close(single, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(detector.score(rows.astype(np.float16)), whole, rtol=1e-2, atol=2e-2)
    torch.testing.assert_close(detector.score(rows.astype(">f8")), whole)
    assert len(detector.predict(rows[:0])) == 0


def test_many_rows_pass_in_batches(detector, rows, monkeypatch):
    whole = detector.predict(rows)
    monkeypatch.setattr("ltood.deployment.detector.BATCH_ROWS", 7)
    parts = detector.predict(rows)
    torch.testing.assert_close(parts.scores, whole.scores)
    assert torch.equal(parts.nearest, whole.nearest)


def test_scoring_only_scores(detector, rows, monkeypatch):
    wanted = detector.predict(rows).scores
    monkeypatch.setattr(DeployedDetector, "_nearest", lambda *given: pytest.fail("called"))
    assert torch.equal(detector.score(rows), wanted)


def test_logits_are_made_for_who_reads_them(store, rows, monkeypatch):
    knn = fit_detector(store, EntrySpec("knn", {"k": 3}), device="cpu")
    wanted = knn.predict(rows)
    monkeypatch.setattr(ClassifierHead, "logits", lambda *given: pytest.fail("called"))
    assert torch.equal(knn.score(rows), wanted.scores)


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_nearest_classes_are_in_class_order_where_they_are_equal(detector, rng, classes):
    # Cosines of few values: equal ones stand among the nearest and at their end.
    means = torch.eye(4)[torch.tensor(rng.integers(0, 4, classes))]
    counts = torch.ones(classes, dtype=torch.int64)
    counts[1] = 0
    seen = dataclasses.replace(detector, class_means=means, class_rows=counts)
    features = torch.tensor(rng.integers(0, 3, (200, 4))).float()
    found, similarities = seen._nearest(features)
    cosines = normalize(features, dim=1) @ normalize(means, dim=1).T
    for row, values in enumerate(cosines.tolist()):
        order = sorted((-value, place) for place, value in enumerate(values) if counts[place])[:3]
        assert found[row].tolist() == [place for _, place in order]
        assert similarities[row].tolist() == pytest.approx([-value for value, _ in order])


def test_input_is_left_unchanged(detector, rows):
    before = rows.copy()
    detector.predict(rows)
    np.testing.assert_array_equal(rows, before)


def test_nearest_classes_against_a_loop(detector, folder, rows):
    with np.load(folder / "train.npz") as train:
        features, labels = train["features"].astype(np.float64), train["labels"]
    found = detector.predict(rows)
    for row, nearest, cosines in zip(rows, found.nearest, found.similarities, strict=True):
        ranked = []
        for label in range(len(COUNTS)):
            mean = sum(features[labels == label]) / (labels == label).sum()
            cosine = sum(mean * row) / math.sqrt(sum(mean * mean)) / math.sqrt(sum(row * row))
            ranked.append((-cosine, label))
        ranked.sort()
        assert nearest.tolist() == [label for _, label in ranked[:3]]
        np.testing.assert_allclose(cosines, [-cosine for cosine, _ in ranked[:3]], atol=1e-6)


def test_a_class_without_rows_is_nobodys_neighbour(detector, rows):
    counts = torch.tensor([60, 0, 15, 0])
    found = dataclasses.replace(detector, class_rows=counts).predict(rows)
    assert found.nearest.shape == (len(rows), 2)
    assert set(found.nearest.flatten().tolist()) == {0, 2}


def test_zero_features_have_neighbours_in_class_order(detector):
    found = detector.predict(torch.zeros(2, DIM))
    assert found.nearest.tolist() == [[0, 1, 2]] * 2
    assert torch.isfinite(found.scores).all()


def test_wrong_rows(detector, rows):
    with pytest.raises(DataError, match=f"5 columns but the detector was fitted on {DIM}"):
        detector.score(rows[:, :5])
    with pytest.raises(DataError, match=r"shape \[2, 3, 4\]; they must be \[N, D\]"):
        detector.score(torch.zeros(2, 3, 4))
    with pytest.raises(DataError, match=r"features are not .* numbers"):
        detector.score(np.array([[None] * DIM]))
    bad = rows.copy()
    bad[[3, 5, 6, 7, 8, 9], 2] = np.nan
    with pytest.raises(DataError, match=r"rows 3, 5, 6, 7, 8, … hold NaN .*\(6 such rows\)"):
        detector.score(bad)


def test_scores_that_overflow(detector):
    with pytest.raises(LtoodError, match="method energy gave 1 scores that are not finite"):
        detector.score(torch.full((1, DIM), 3e38))


def test_local_features(local_detector, rows):
    local = np.stack([rows, rows], axis=1)
    torch.testing.assert_close(
        local_detector.score(rows, local=local), torch.tensor(rows.mean(axis=1))
    )
    torch.testing.assert_close(
        local_detector.score(rows[0], local=local[0]), torch.tensor(rows[:1].mean(axis=1))
    )
    with pytest.raises(MissingNeedError, match="reads local features, and none were given"):
        local_detector.score(rows)
    with pytest.raises(DataError, match=r"local features have shape .* for 40 rows"):
        local_detector.score(rows, local=local[:3])
