from dataclasses import replace

import numpy as np
import pytest

from ltood.evaluation.intervals import uncertainty
from ltood.evaluation.measures import Evaluation
from ltood.reporting.leaderboard import leaderboard
from ltood.reporting.write import write_report

from .report_samples import make_store


def streamed(orders=3):
    store, rng = make_store(sets=("near", "far")), np.random.default_rng(0)
    for name, split in store.parts.items():
        columns = orders * (2 if name == "test" else 1)
        noise = rng.normal(0, 0.3, (len(split), columns))
        by_order = (split.scores[:, None] + noise).astype(np.float32)
        store.parts[name] = replace(split, by_order=by_order)
    store.attributes["stream"] = {"streams": ["near", "far"], "orders": orders, "mix": "per_set"}
    return store


def test_the_page_says_what_the_figures_are(tmp_path):
    evaluation = Evaluation(streamed())
    out = tmp_path / "report.html"
    write_report(out, evaluation, intervals=uncertainty(evaluation))
    page = out.read_text(encoding="utf-8")
    assert "transductive" in page.lower()
    std = evaluation.metrics["stream"]["std"]["mean"]["auroc"]
    assert f"± {100 * std:.2f}" in page
    assert "95 % interval" not in page
    assert "bootstrap" not in page


def test_other_reports_have_intervals_as_before(tmp_path):
    evaluation = Evaluation(make_store())
    intervals = uncertainty(evaluation)
    assert {"low", "high", "std"} == intervals["mean"]["auroc"].keys()
    out = tmp_path / "report.html"
    write_report(out, evaluation, intervals=intervals)
    page = out.read_text(encoding="utf-8")
    assert "95 % interval" in page
    assert "transductive" not in page.lower()


def test_one_order_has_no_deviations(tmp_path):
    evaluation = Evaluation(streamed(orders=1))
    assert uncertainty(evaluation)["mean"] == {}
    write_report(tmp_path / "report.html", evaluation, intervals=uncertainty(evaluation))


@pytest.mark.parametrize("marked", [True, False])
def test_no_transductive_row_is_called_the_best(marked):
    metrics = Evaluation(make_store()).metrics
    best = {**metrics, "mean": {**metrics["mean"], "auroc": 0.999}}
    if marked:
        best |= {"stream": Evaluation(streamed()).metrics["stream"]}
    row = {"calibrator": "none", "method": "doda", "normaliser": "none", "status": "ok", **best}
    board = {"rows": [row], "left_out": []}
    none = {"name": "none", "settings": {}}
    chosen = {"calibrator": none, "method": {"name": "energy", "settings": {}}, "normaliser": none}
    found = leaderboard(board, metrics, chosen)
    assert found.best[0] == ("Energy" if marked else "DODA")
    assert found.rows[0].heading == ("DODA (transductive)" if marked else "DODA")
