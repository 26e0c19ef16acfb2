import pytest

from ltood.core.errors import UnknownNameError
from ltood.evaluation import tables
from ltood.evaluation.measures import Evaluation
from ltood.metrics import COLUMNS, columns_of
from tests.evaluation.score_samples import make_scored


@pytest.fixture(scope="module")
def metrics():
    return Evaluation(make_scored()).metrics


def test_a_table_has_the_columns_of_its_papers(metrics):
    heading, far, near, mean = tables.table_rows(metrics, "pascl")
    assert heading == ["OOD set", "AUROC", "AUPR", "FPR95"]
    assert [row[0] for row in (far, near, mean)] == ["far", "near", "mean"]
    values = metrics["ood"]["near"]
    expected = [values[key] for key in ("auroc", "ap_out", "fpr95_ood_pos")]
    assert near[1:] == [f"{100 * value:.2f}" for value in expected]
    himplos = dict(zip(*tables.table_rows(metrics, "himplos")[::3], strict=True))
    assert himplos["FPR95"] == f"{100 * metrics['mean']['fpr95_id_pos']:.2f}"
    assert himplos["AUPR-in"] == f"{100 * metrics['mean']['ap_in']:.2f}"


@pytest.mark.parametrize("name", COLUMNS)
def test_all_columns_make_both_tables(metrics, name):
    rows = tables.table_rows(metrics, name)
    lines = tables.markdown_table(metrics, name).splitlines()
    assert lines[0] == f"| {' | '.join(rows[0])} |"
    assert lines[1] == "| --- |" + " ---: |" * (len(rows[0]) - 1)
    assert len(lines) == len(rows) + 1
    text = tables.text_table(metrics, name).splitlines()
    assert len({len(line) for line in text[: len(rows)]}) == 1
    assert text[-2].startswith(f"ID: accuracy {100 * metrics['id']['accuracy']:.2f}, many ")
    assert text[-1].startswith("percent; ")
    for title, key in columns_of(name):
        assert f"{title} is {key}" in text[-1]


def test_tables_show_a_dash_for_an_empty_group(metrics):
    without = {**metrics, "id": {**metrics["id"], "few": None}}
    assert "few -" in tables.text_table(without)


def test_unknown_columns(metrics):
    with pytest.raises(
        UnknownNameError, match=r"No columns 'pasc'\. Did you mean pascl\? Known: p"
    ):
        tables.markdown_table(metrics, "pasc")
