"""Tables as files."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.reporting.sheets import Column, Sheet, Value, write_sheets

COLUMNS = [Column("auroc", "AUROC"), Column("kind", "Kind", "text")]


def sheet(rows, columns=COLUMNS):
    return Sheet("table", "A | title_1", "Run & set", columns, rows)


@settings(deadline=None)
@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))),
)
def test_csv_keeps_every_bit(value, low, name):
    text = sheet([(name, [Value(value, low, value), Value(name)])]).csv()
    row = list(csv.reader(io.StringIO(text)))
    assert row[0] == ["Run & set", "auroc", "auroc_low", "auroc_high", "kind"]
    assert (float(row[1][1]), float(row[1][2])) == (value, low)
    assert (row[1][0], row[1][4]) == (name, name)


def test_special_signs_stay_inside_their_cells():
    made = sheet([("a|b_c%\n$", [Value(0.5, std=0.01, is_best=True), Value(None)])])
    line = next(row for row in made.markdown().splitlines() if "50.00" in row)
    assert line.replace("\\|", "").count("|") == 4
    assert "**50.00 ± 1.00**" in line
    latex = next(row for row in made.latex().splitlines() if "50.00" in row)
    assert r"a|b\_c\% \$" in latex
    assert r"\textbf{50.00 $\pm$ 1.00}" in latex
    assert r"Run \& set" in made.latex()


def test_points_have_a_sign():
    columns = [Column("gap", "Gap", "points")]
    made = sheet([("a", [Value(0.0123, -0.001, 0.02)])], columns)
    assert "+1.23 [-0.10, +2.00]" in made.markdown()


def test_all_files_are_written_at_once(tmp_path):
    files = write_sheets(tmp_path / "a b", [sheet([("x", [Value(1.0), Value("y")])])])
    assert [file.name for file in files] == ["table.csv", "table.md", "table.tex"]
