"""A small table, its cells, and results made without running anything."""

import numpy as np

from ltood.comparing.plan import Combination
from ltood.comparing.scores import ScoreKeeper
from ltood.core.prior import ClassPrior
from ltood.evaluation.comparison import Comparison
from ltood.evaluation.config import SetGroups
from ltood.evaluation.groups import with_alarms
from ltood.evaluation.measures import sections
from ltood.store.scores import ScoreSplit
from ltood.tables.records import Record, Results
from ltood.tables.running import CellFailedError
from ltood.tables.spec import parse_table

CONTENT = {
    "version": 2,
    "title": "Small & simple",
    "about": "Nothing is run.",
    "metrics": ["accuracy"],
    "seeds": [0, 1],
    "groups": {"near": ["b"]},
    "params": {
        "dataset": "demo",
        "backbone": "cifar_resnet",
        "training": {"epochs": 2, "batch_size": 32},
    },
    "rows": [
        {"name": "MSP", "method": "msp", "params": {"recipe": "cross_entropy"}},
        {"name": "kNN", "method": "knn", "params": {"recipe": "cross_entropy"}},
        {
            "name": "PATT",
            "calibrator": "patt",
            "method": "energy",
            "params": {"recipe": "patt", "training": {"epochs": 3}},
            "flags": ["auxiliary"],
        },
    ],
    "published": [
        {
            "name": "A paper",
            "source": "A and B, Some Venue 2020",
            "row": "MSP",
            "values": {"auroc": 76.0},
            "groups": {"near": {"auroc": 61.5}},
            "tolerance": 5,
        },
        {"name": "Another", "source": "C, 2021", "values": {"auroc": 90}, "flags": ["recalled"]},
    ],
}
#: How far OOD rows of the sets a and b lie from the ID rows, by title.
SHIFT = {"msp": (1.5, 0.5), "knn": (2.0, 1.0), "patt+energy": (1.9, 1.1)}


def make_table(**changes):
    return parse_table("small", {**CONTENT, **changes}, "tables/small.yaml")


def scores_of(title, seed, rows=120):
    """Scores of one row: images are the same for all rows, as are their difficulties."""
    images = np.random.default_rng(0)
    labels, hard = images.integers(0, 3, rows), images.normal(size=rows)
    rng = np.random.default_rng([seed, *title.encode()])
    predictions = np.where(rng.random(rows) < 0.8, labels, 0)
    found = {"test": _split(hard + 0.1 * rng.normal(size=rows), predictions, labels)}
    for name, shift in zip("ab", SHIFT[title], strict=True):
        values = images.normal(size=60) + shift + 0.1 * rng.normal(size=60)
        found[f"ood_{name}"] = _split(values, np.zeros(60), np.full(60, -1))
    return found


def _split(scores, predictions, labels):
    columns = (predictions, labels, np.arange(len(scores)))
    return ScoreSplit(np.float32(scores), *(np.asarray(c, dtype=np.int64) for c in columns))


def board_row(combination, splits):
    prior, groups = ClassPrior(np.array([50, 20, 5])), SetGroups({"near": ("b",)})
    per_set = {
        name[4:]: with_alarms(Comparison.of(name, splits["test"], rows), prior)
        for name, rows in splits.items()
        if name != "test"
    }
    found = sections(splits["test"], {}, per_set, {}, groups, prior)
    return {"title": combination.title, **combination._asdict(), "status": "ok", **found}


def pretended(root, table, cell, state, job):
    """Runs a cell without running it."""
    rows = [Combination(row.calibrator, row.method, row.normaliser) for row in cell.rows]
    splits = {row: scores_of(row.title, cell.seed) for row in rows}
    board = {"rows": [board_row(row, splits[row]) for row in rows]}
    folder = root / "scores" / cell.name
    keeper = ScoreKeeper(folder)
    for name in ("test", "ood_a", "ood_b"):
        keeper.add(name, {row: splits[row][name] for row in rows})
    keeper.write(board, "0a" * 32)
    by_title = {row["title"]: row for row in board["rows"]}
    record = Record(cell.name, cell.seed, state, by_title, 60.0, f"exp-{cell.name}", "c0ffee", {})
    Results(root, table.name).write(cell, record, folder)
    return record


def failing(root, table, cell, state, job):
    if cell.seed == 1 and "patt" in cell.name:
        raise CellFailedError("no luck today")
    return pretended(root, table, cell, state, job)
