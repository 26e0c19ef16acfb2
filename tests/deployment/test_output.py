"""Verdicts as CSV and as JSON lines."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DIM
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import (
    ConfigError,
    DataError,
    StoreError,
)
from ltood.deployment.judging import BadInputs
from ltood.deployment.output import format_of, write_file, write_rows
from ltood.deployment.predicting import predict_files
from ltood.deployment.promises import Promise
from ltood.deployment.verdicts import COLUMNS, Verdict, columns_of
from ltood.runtime.widths import width


def test_csv_and_json_lines_say_the_same(detector, folder, tmp_path):
    verdicts = list(predict_files(detector, [folder / "ood_far.npz"]))
    write_file(tmp_path / "new" / "rows.csv", verdicts, "csv", COLUMNS)
    with (tmp_path / "new" / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = io.StringIO()
    write_rows(lines, verdicts, "jsonl", COLUMNS)
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
        assert float(row["probability"]) == record["probability"] == verdict.probability
        assert float(row["p_value"]) == record["p_value"] == verdict.p_value
        assert (row["reason"], record["reason"]) == ("", None)


def test_cells_without_id_and_third_class(detector, folder):
    (verdict, *_) = predict_files(detector, [folder / "test.npz"])
    short = dataclasses.replace(verdict, id=None, nearest=verdict.nearest[:1])
    text = io.StringIO()
    write_rows(text, [short], "csv", COLUMNS)
    (row,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert list(row) == list(COLUMNS)
    assert row["id"] == row["nearest_2"] == row["cosine_3"] == ""
    assert row["nearest_1"] == verdict.nearest[0][0]


def test_failed_output_leaves_nothing(detector, tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_file(tmp_path / "file" / "rows.csv", [], "csv", COLUMNS)
    with np.load(folder / "test.npz") as archive:
        bad = np.concatenate([archive["features"], np.full((1, DIM), np.nan)])
    np.savez(tmp_path / "file.npz", features=np.repeat(bad, 300, axis=0))
    stopped = predict_files(detector, [tmp_path / "file.npz"], bad=BadInputs("raise"))
    (tmp_path / "out").mkdir()
    for ending in ("csv", "parquet"):
        with pytest.raises(DataError, match="hold NaN"):
            write_file(tmp_path / "out" / f"rows.{ending}", stopped, ending, COLUMNS)
        stopped = predict_files(detector, [tmp_path / "file.npz"], bad=BadInputs("raise"))
    assert list((tmp_path / "out").iterdir()) == []


def test_parquet_holds_the_same(detector, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("ltood.deployment.output._GROUP_ROWS", 16)
    promised = detector.promising(Promise(sets=0.6))
    verdicts = [
        *predict_files(promised, [folder / "ood_far.npz"]),
        Verdict("b\udcff.png", None, "error", reason="it is empty"),
    ]
    write_file(tmp_path / "rows.parquet", verdicts, "parquet", columns_of(promised))
    file = pq.ParquetFile(tmp_path / "rows.parquet")
    assert file.metadata.num_row_groups == 3
    table = file.read()
    assert table.column_names == [*COLUMNS, "set"]
    assert table.schema.field("score").type == pa.float64()
    for row, verdict in zip(table.to_pylist(), verdicts, strict=True):
        assert row == {name: verdict.values().get(name) for name in table.column_names}
    assert table.to_pylist()[-1]["path"] == "b\\udcff.png"


def test_a_table_for_people(detector, folder):
    (verdict, *_) = predict_files(detector, [folder / "test.npz"])
    bad = Verdict("b\n\x1b[2J.png", None, "error", reason="b\n\x1b[2J.png is empty")
    text = io.StringIO()
    write_rows(text, [verdict, bad], "table", COLUMNS)
    heading, first, second = text.getvalue().splitlines()
    assert heading.split() == ["verdict", "score", "p", "class", "prob", "path"]
    assert first.split()[0] == verdict.verdict
    assert first.endswith("test.npz id 0")
    assert "\x1b" not in second
    assert "is empty" in second
    for form in ("table", "csv", "jsonl"):
        empty = io.StringIO()
        write_rows(empty, [], form, COLUMNS)
        assert empty.getvalue() == (",".join(COLUMNS) + "\n" if form == "csv" else "")


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "csv"), ("a", "csv"), ("a.JSONL", "jsonl"), ("a.parquet", "parquet")],
)
def test_the_ending_names_the_format(name, form):
    assert format_of(Path(name)) == form
    with pytest.raises(ConfigError, match=r"x\.json"):
        format_of(Path("x.json"))


@given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=4), st.booleans())
def test_any_name_comes_back(names, is_error):
    """Commas, quotes, line ends, zero bytes and halves of surrogate pairs."""
    verdicts = [
        Verdict(name, None, "error", reason=name)
        if is_error
        else Verdict(name, 3, "ID", 0.5, 1.0, name, ((name, 0.25),), 0.5, 0.5)
        for name in names
    ]
    text, lines = io.StringIO(newline=""), io.StringIO()
    write_rows(text, verdicts, "csv", COLUMNS)
    write_rows(lines, verdicts, "jsonl", COLUMNS)
    table = list(csv.DictReader(io.StringIO(text.getvalue(), newline="")))
    records = [json.loads(line) for line in lines.getvalue().split("\n") if line]
    assert [row["path"] for row in table] == [row["path"] for row in records]
    assert [row["class"] for row in table] == [row["class"] or "" for row in records]
    assert len(records) == len(names)
    text.getvalue().encode()
    lines.getvalue().encode()


def test_columns_behind_wide_names_stand_below_one_another():
    text = io.StringIO()
    rows = [
        Verdict("é.png", None, "ID", 0.5, 1.0, name) for name in ("日本の庭", "cat", "Cafe\u0301")
    ]
    write_rows(text, rows, "table", COLUMNS)
    ends = {width(line.partition("é.png")[0]) for line in text.getvalue().splitlines()[1:]}
    assert len(ends) == 1
