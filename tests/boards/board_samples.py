"""A table whose cells were run on a small feature store, and records of its rows."""

from ltood.boards.submitting import record_of
from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.comparing.scores import ScoreKeeper
from ltood.evaluation.config import SetGroups
from ltood.tables.cells import cells_of
from ltood.tables.records import Record, Results
from ltood.tables.spec import parse_table
from ltood.tables.view import View
from tests.tables.table_samples import CONTENT

CHANGES = {
    "board": "long-tail",
    "groups": {"near": ["near"]},
    "rows": [
        {"name": "MSP", "method": "msp", "params": {"recipe": "cross_entropy"}},
        {
            "name": "kNN & more",
            "method": "knn",
            "params": {"recipe": "cross_entropy", "methods": {"knn": {"k": 3}}},
            "flags": ["auxiliary"],
        },
    ],
    "published": [
        {
            "name": "A <paper>",
            "source": "A and B, Some Venue 2020",
            "row": "MSP",
            "values": {"auroc": 76.0, "fpr95_ood_pos": 50},
            "groups": {"near": {"auroc": 61.5}},
            "why_not": "Other images.",
        },
        {"name": "Another", "source": "C, 2021", "values": {"auroc": 90}, "flags": ["recalled"]},
    ],
}


def make_table(**changes):
    return parse_table("small", {**CONTENT, **CHANGES, **changes}, "tables/small.yaml")


def make_view(root, store, table=None):
    """A view whose every cell was compared on one store."""
    table = table or make_table()
    cells, results = cells_of(table), Results(root, table.name)
    records = {}
    for cell in cells:
        folder = root / "scores" / cell.name
        config = Config(
            methods=tuple(row.method for row in cell.rows),
            calibrators=("none",),
            normalisers=("none",),
        )
        board, _ = compare(
            store,
            config,
            cell.params,
            groups=SetGroups({"near": ("near",)}),
            keeper=ScoreKeeper(folder),
            device="cpu",
        )
        rows = {row["title"]: row for row in board["rows"]}
        made = {"made_from": board["made_from"], "versions": {"ltood": "0"}}
        record = Record(cell.name, cell.seed, "now", rows, 1.0, "exp", "c0ffee", made)
        results.write(cell, record, folder)
        records[cell.name] = record
    return View(root, table, cells, dict.fromkeys(records, "now"), records, {})


def content_of(view, row=1, **changes):
    options = {"by": "A. Person", "address": None, **changes}
    return record_of(view, view.table.rows[row], **options)
