"""Files of tables: what they may say, and that each fault is named."""

import copy

import pytest

from ltood.core.errors import ConfigError, UnknownNameError
from ltood.tables.describing import described
from ltood.tables.spec import known_tables, load_table, parse_table
from tests.tables.table_samples import CONTENT, make_table


def test_a_table_is_read():
    table = make_table()
    assert [row.title for row in table.rows] == ["msp", "knn", "patt+energy"]
    assert table.metrics[:2] == (("AUROC", "auroc"), ("AUPR", "ap_out"))
    assert table.metrics[-1] == ("accuracy", "accuracy")
    assert table.groups == {"near": ("b",)}
    assert table.published[0].checked() == {"": {"auroc": 76.0}, "@near": {"auroc": 61.5}}
    text = described(table)
    for part in (
        "small, version 2",
        "PATT: patt, patt+energy [auxiliary]",
        "C, 2021",
        "seeds: 0, 1",
    ):
        assert part in text


@pytest.mark.parametrize("name", known_tables())
def test_every_table_that_comes_along_is_sound(name):
    table = load_table(name)
    assert table.name == name
    assert described(table)


def broken(path, value):
    content = copy.deepcopy(CONTENT)
    *outer, last = path
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("version",), "1", "version"),
        (("colums",), "pascl", "colums"),
        (("columns",), "paper", "columns"),
        (("metrics",), ["auc"], "metrics"),
        (("board",), "cifar", "board"),
        (("seeds",), [0, 0], "seeds"),
        (("seeds",), [], "seeds"),
        (("rows",), [], "rows"),
        (("rows", 0, "method"), "mps", "mps"),
        (("rows", 0, "name"), "kNN", "twice"),
        (("rows", 0, "flags"), ["best"], "flags"),
        (("rows", 0, "deterministic"), "no", "deterministic"),
        (("groups",), ["near"], "groups"),
        (("needs",), [{"path": "x"}], "source"),
        (("published", 0, "row"), "MPS", "row"),
        (("published", 0, "source"), "", "source"),
        (("published", 0, "values"), {"auc": 1.0}, "auc"),
        (("published", 0, "values"), {"auroc": 0.9e3}, "auroc"),
        (("published", 0, "tolerance"), 0, "tolerance"),
        (("published", 0, "flags"), ["good"], "flags"),
        (("published", 0, "value"), {}, "value"),
    ],
)
def test_faults_are_named(path, value, named):
    with pytest.raises((ConfigError, UnknownNameError), match=named):
        parse_table("small", broken(path, value), "tables/small.yaml")


def test_unknown_tables_are_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="demo"):
        load_table("dmo")


def test_a_table_of_the_repository_takes_the_place_of_one_that_comes_along(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "demo.yaml").write_text("version: 1\n")
    assert known_tables(tmp_path)["demo"] == tmp_path / "tables" / "demo.yaml"
