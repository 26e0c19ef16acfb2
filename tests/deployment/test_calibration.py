"""Calibration rows: what is kept, in which order, and in which files."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import make_toy

from ltood.core.building import EntrySpec
from ltood.core.errors import CorruptStoreError, DataError, MissingNeedError
from ltood.deployment.calibration import CalibrationRows, class_surprises, surprises
from ltood.deployment.exporting import fit_detector, with_threshold
from ltood.deployment.files import load_detector, save_detector
from ltood.deployment.promises import Promise
from ltood.runtime.provenance import digest


@pytest.fixture(scope="module")
def labels():
    return make_toy().id_batch.labels


def test_rows_are_what_the_detector_says(detector, rows, labels):
    found = detector.calibration
    scores, order = detector.score(rows).sort(stable=True)
    assert torch.equal(found.scores, scores)
    assert torch.equal(found.labels, labels[order])
    logits = detector.head.logits(torch.tensor(rows))[order]
    assert torch.equal(found.classes, logits.argmax(dim=1))
    softmax = logits.double().softmax(dim=1).gather(1, labels[order][:, None])[:, 0]
    np.testing.assert_allclose(found.surprises, -softmax.log(), rtol=1e-5)
    assert detector.description["calibration"] == {"split": "val", "rows": 40, "labelled": 40}


def test_their_order_tells_nothing(detector, rows, labels, rng):
    order = rng.permutation(len(rows))
    again = detector.calibration_rows(rows[order], labels.numpy()[order])
    halves = [detector.calibration_rows(rows[part], labels[part]) for part in np.split(order, 2)]
    for found in (again, CalibrationRows.of(halves)):
        for name, column in detector.calibration.tensors().items():
            torch.testing.assert_close(getattr(found, name), column, rtol=1e-6, atol=1e-6)


def test_rows_without_labels(detector, rows):
    found = detector.calibration_rows(rows)
    assert found.num_unlabelled == 40
    assert (found.labels == -1).all()
    assert (found.surprises == 0).all()
    plain = with_threshold(detector, found, 0.95, "val")
    assert plain.description["calibration"]["labelled"] == 0
    assert plain.promising(Promise(fpr=0.1)).rule is not None
    with pytest.raises(DataError, match="sets"):
        plain.promising(Promise(sets=0.5))


@pytest.mark.parametrize("wrong", [[0] * 39, [4] * 40, [-2] * 40])
def test_labels_that_do_not_fit(detector, rows, wrong):
    with pytest.raises(DataError, match="labels for 40 rows"):
        detector.calibration_rows(rows, wrong)


def test_columns_have_the_same_rows():
    column = torch.zeros(3)
    with pytest.raises(DataError, match="columns of calibration rows"):
        CalibrationRows(column, column.long(), column.long()[:2], column)


def test_surprises_tell_apart_what_the_softmax_rounds_to_one():
    logits = torch.tensor([[40.0, 0.0], [30.0, 0.0], [0.0, 0.0]])
    found = class_surprises(logits)[:, 0]
    assert 0 < found[0] < found[1] < found[2] == pytest.approx(np.log(2))
    assert surprises(logits, torch.tensor([0, -1, 1])).tolist() == [found[0], 0.0, found[2]]


def test_they_are_read_back(detector, saved, rows):
    loaded = load_detector(saved, "cpu")
    for name, column in detector.calibration.tensors().items():
        assert torch.equal(loaded.calibration.tensors()[name], column)
    for options in ({"fpr": 0.1}, {"fdr": 0.2}, {"sets": 0.6}):
        promise = Promise(**options)
        assert torch.equal(
            loaded.promising(promise).predict(rows).p_values,
            detector.promising(promise).predict(rows).p_values,
        )


def test_a_rule_is_not_written(detector, saved, tmp_path):
    save_detector(tmp_path / "e.safetensors", detector.promising(Promise(fpr=0.1)))
    assert (tmp_path / "e.safetensors").read_bytes() == saved.read_bytes()
    assert load_detector(tmp_path / "e.safetensors", "cpu").rule is None


def test_detectors_of_schema_1_keep_their_threshold(detector, tmp_path, rows):
    description = {k: v for k, v in detector.description.items() if k != "calibration"}
    old = dataclasses.replace(detector, calibration=None, description=description)
    save_detector(tmp_path / "d.safetensors", old)
    sidecar = tmp_path / "d.json"
    written = {**json.loads(sidecar.read_text()), "schema": 1}
    del written["description_sha256"]
    sidecar.write_text(json.dumps({**written, "description_sha256": digest(written)}))
    loaded = load_detector(sidecar, "cpu")
    assert torch.equal(loaded.predict(rows).is_ood, detector.predict(rows).is_ood)
    with pytest.raises(MissingNeedError, match="export the detector again"):
        loaded.promising(Promise(fpr=0.1))


def test_files_that_lack_the_rows_they_name(detector, tmp_path):
    broken = dataclasses.replace(detector, calibration=None)
    save_detector(tmp_path / "d.safetensors", broken)
    with pytest.raises(CorruptStoreError, match="lacks an entry"):
        load_detector(tmp_path / "d.safetensors", "cpu")


def test_rows_that_were_learned_from_are_not_kept(store):
    learned = fit_detector(store, EntrySpec("energy"), threshold_split="train", device="cpu")
    assert learned.calibration is None
    assert learned.description["calibration"] is None
    with pytest.raises(MissingNeedError, match="train"):
        learned.promising(Promise(fpr=0.1))


def test_rows_that_a_calibrator_learned_from_are_not_kept(store):
    slots = EntrySpec("energy"), EntrySpec("patt", {"official_test_leak": True})
    assert fit_detector(store, *slots, threshold_split="test", device="cpu").calibration is None
    held_out = fit_detector(store, *slots, device="cpu")
    assert held_out.description["calibration"]["split"] == "val"
