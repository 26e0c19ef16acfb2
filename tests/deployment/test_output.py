"""Verdicts as CSV and as JSON lines."""

import csv
import dataclasses
import io
import json

import pytest

from ltood.core.errors import (
    DataError,
    StoreError,
)
from ltood.deployment.output import write_file, write_rows
from ltood.deployment.predicting import predict_files
from ltood.deployment.verdicts import COLUMNS


def test_csv_and_json_lines_say_the_same(detector, folder, tmp_path):
    verdicts = list(predict_files(detector, [folder / "ood_far.npz"]))
    write_file(tmp_path / "new" / "rows.csv", verdicts, "csv")
    with (tmp_path / "new" / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = io.StringIO()
    write_rows(lines, verdicts, "jsonl")
    records = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert list(table[0]) == list(COLUMNS)
    assert len(table) == len(records) == 40
    for row, record, verdict in zip(table, records, verdicts, strict=True):
        assert float(row["score"]) == record["score"] == verdict.score
        assert (record["score"] > record["threshold"]) == (row["verdict"] == "OOD")
        assert row["class"] == record["class"]
        assert row["id"] == str(record["id"])
        assert row["nearest_2"] == record["nearest"][1]["class"]
        assert float(row["cosine_3"]) == pytest.approx(record["nearest"][2]["cosine"], abs=1e-4)


def test_cells_without_id_and_third_class(detector, folder):
    (verdict, *_) = predict_files(detector, [folder / "test.npz"])
    short = dataclasses.replace(verdict, id=None, nearest=verdict.nearest[:1]).cells()
    assert len(short) == len(COLUMNS)
    assert short[1] == short[-1] == short[-4] == ""


def test_failed_output_leaves_nothing(detector, tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_file(tmp_path / "file" / "rows.csv", [], "csv")
    gone = predict_files(detector, [folder / "test.npz", tmp_path / "gone.npz"])
    with pytest.raises(DataError, match="does not exist"):
        write_file(tmp_path / "rows.csv", gone, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
