"""Verdicts of a promise, row by row in files and all at once in memory."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from reference import conformal as reference

from ltood.deployment.output import write_rows
from ltood.deployment.predicting import predict_files
from ltood.deployment.promises import Promise
from ltood.deployment.verdicts import COLUMNS, columns_of
from tests.deployment.detector_samples import NAMES


@pytest.fixture
def archives(folder):
    return [folder / "test.npz", folder / "ood_far.npz"]


@pytest.fixture
def all_rows(archives):
    return np.concatenate([np.load(path)["features"] for path in archives])


@pytest.mark.parametrize("options", [{"fdr": 0.3}, {"fdr": 0.3, "per_group": "class_group"}])
def test_all_files_of_a_call_are_decided_together(detector, archives, all_rows, options):
    promised = detector.promising(Promise(**options))
    found = list(predict_files(promised, archives))
    whole = promised.predict(all_rows)
    p_values = [row.p_value for row in found]
    assert p_values == whole.p_values.tolist()
    want = reference.benjamini_hochberg(np.array(p_values), 0.3)
    assert [row.verdict == "OOD" for row in found] == whole.is_ood.tolist() == want.tolist()
    assert 0 < sum(want) < len(want)
    assert {row.threshold for row in found} == {None}
    assert [row.path for row in found] == [str(path) for path in archives for _ in range(40)]


@pytest.mark.parametrize("batch_rows", [1, 7])
def test_all_batches_of_a_call_are_decided_together(detector, all_rows, batch_rows, monkeypatch):
    monkeypatch.setattr("ltood.deployment.detector.BATCH_ROWS", batch_rows)
    promised = detector.promising(Promise(fdr=0.3))
    whole = promised.predict(all_rows)
    want = reference.benjamini_hochberg(whole.p_values.numpy(), 0.3)
    assert whole.is_ood.tolist() == want.tolist()
    assert len(promised.predict(all_rows[:0])) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"fpr": 0.1},
        {"fpr": 0.1, "per_group": "class_group"},
        {"fpr": 0.4, "class_mix": "uniform"},
        {"sets": 0.6},
    ],
)
def test_files_and_memory_agree(detector, archives, all_rows, options):
    promised = detector.promising(Promise(**options))
    found, whole = list(predict_files(promised, archives)), promised.predict(all_rows)
    assert [row.p_value for row in found] == whole.p_values.tolist()
    assert [row.verdict == "OOD" for row in found] == whole.is_ood.tolist()
    assert (whole.p_values <= next(iter(options.values()))).tolist() == whole.is_ood.tolist()
    if "sets" in options:
        kept = [[NAMES[c] for c in np.flatnonzero(row)] for row in whole.sets.numpy()]
        assert [list(row.classes) for row in found] == kept
        assert [not names for names in kept] == whole.is_ood.tolist()
    else:
        assert [row.threshold for row in found] == whole.thresholds.tolist()
        assert torch.equal(whole.scores > whole.thresholds, whole.is_ood)


def test_tables_have_the_columns_of_the_promise(detector, archives, monkeypatch):
    monkeypatch.setattr(
        type(detector.method), "explain", lambda self, batch: {"p_knn": batch.features[:, 0]}
    )
    promised = detector.promising(Promise(sets=0.6))
    found = list(predict_files(promised, archives))
    text, lines = io.StringIO(), io.StringIO()
    columns = columns_of(promised)
    write_rows(text, found, "csv", columns)
    write_rows(lines, found, "jsonl", columns)
    table = list(csv.DictReader(io.StringIO(text.getvalue())))
    records = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert list(table[0]) == [*COLUMNS, "set", "p_knn"]
    for row, record, verdict in zip(table, records, found, strict=True):
        assert float(row["p_value"]) == record["p_value"] == verdict.p_value
        assert float(row["p_knn"]) == record["p_knn"] == verdict.explanation["p_knn"]
        assert row["set"].split("|") == (record["set"] or [""]) == [*verdict.classes] or [""]
        assert row["threshold"] == ""
        assert record["threshold"] is None


def test_without_a_promise_p_values_are_those_of_all_calibration_rows(detector, archives):
    assert columns_of(detector) == COLUMNS
    held_out = detector.calibration.scores.tolist()
    for row in predict_files(detector, archives):
        above = sum(score >= row.score for score in held_out)
        assert row.p_value == (1 + above) / (1 + len(held_out))
        assert row.threshold == detector.threshold
    without = dataclasses.replace(detector, calibration=None)
    assert {row.p_value for row in predict_files(without, archives)} == {None}


def test_rows_that_cannot_be_judged_keep_their_place(detector, archives, all_rows, tmp_path):
    holed = all_rows.copy()
    holed[[0, 41, 79]] = np.nan
    np.savez(tmp_path / "holed.npz", features=holed)
    promised = detector.promising(Promise(fdr=0.3))
    found = list(predict_files(promised, [tmp_path / "holed.npz"]))
    assert [row.id for row in found if row.verdict == "error"] == [0, 41, 79]
    assert [row.id for row in found] == list(range(80))
    rest = promised.predict(np.delete(all_rows, [0, 41, 79], axis=0))
    judged = [row.verdict == "OOD" for row in found if row.verdict != "error"]
    assert judged == rest.is_ood.tolist()
    np.savez(tmp_path / "lost.npz", features=np.full((2, all_rows.shape[1]), np.inf))
    lost = list(predict_files(promised, [tmp_path / "lost.npz"]))
    assert [(row.verdict, row.p_value) for row in lost] == [("error", None)] * 2
