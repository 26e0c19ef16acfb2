"""Several processes compare what one does, and give the same."""

import json

import numpy as np
import pytest

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.comparing.scores import ComparedScores, ScoreKeeper
from ltood.methods import energy
from ltood.store.features import FeatureStore
from tests.comparing.compare_samples import SETTINGS, by_title
from tests.crew_samples import own_crew, ranks_of, run_crew

METHODS = ("energy", "knn", "nnguide", "relation", "himplos", "mahalanobis", "react", "doda")
SMALL = {
    "methods": {**SETTINGS["methods"], "nnguide": {"k": 3}},
    **{"normalisers": SETTINGS["normalisers"]},
}


@pytest.fixture(autouse=True)
def _few_rows_at_once(monkeypatch):
    monkeypatch.setattr("ltood.scoring.sources.BATCH_BYTES", 500)


def compared(store, config, folder, ranks=None):
    keeper = ScoreKeeper(folder)
    board, _ = compare(store, config, SMALL, keeper=keeper, device="cpu", ranks=ranks)
    return board


def together(monkeypatch, world, store, config, folder):
    """Boards of all processes."""
    monkeypatch.setattr("ltood.scoring.session.crew_of", own_crew)
    return run_crew(
        world, lambda crew: compared(FeatureStore.open(store.path), config, folder, ranks_of(crew))
    )


def all_scores(folder):
    found = ComparedScores.open(folder)
    return {
        (title, name): found.split(row, name)
        for row, title in enumerate(found.titles)
        for name in found.splits
    }


def test_all_rows_are_those_of_one_process(store, tmp_path, monkeypatch):
    config = Config(METHODS, ("none", "patt"), ("none",))
    expected = compared(store, config, tmp_path / "one")
    boards = together(monkeypatch, 3, store, config, tmp_path / "many")
    assert all(board == boards[0] for board in boards)
    assert json.dumps(boards[0]["left_out"]) == json.dumps(expected["left_out"])
    rows, wanted = by_title(boards[0]), by_title(expected)
    assert rows.keys() == wanted.keys()
    for title, row in wanted.items():
        assert rows[title]["status"] == row["status"], rows[title]
        if row["status"] == "ok":
            assert rows[title]["mean"]["auroc"] == pytest.approx(row["mean"]["auroc"], abs=0.02)
    scores = all_scores(tmp_path / "many")
    for key, split in all_scores(tmp_path / "one").items():
        np.testing.assert_allclose(scores[key].scores, split.scores, rtol=1e-5, atol=1e-6)
        for name in ("predictions", "labels", "ids"):
            np.testing.assert_array_equal(getattr(scores[key], name), getattr(split, name))
        if key[0] == "energy":  # It learns nothing and scores row by row: not a bit differs.
            np.testing.assert_array_equal(scores[key].scores, split.scores)


def test_a_row_that_fails_for_some_rows_fails_for_all(store, tmp_path, monkeypatch):
    take = energy.Entry._score

    def fails_behind(self, batch):
        if int(batch.ids.max()) >= 28:
            raise RuntimeError("no luck")
        return take(self, batch)

    monkeypatch.setattr(energy.Entry, "_score", fails_behind)
    config = Config(("energy", "msp"))
    for board in together(monkeypatch, 2, store, config, tmp_path / "many"):
        rows = by_title(board)
        assert rows["energy"]["status"] == "failed"
        assert rows["energy"]["reason"] == "RuntimeError: no luck"
        assert rows["msp"]["status"] == "ok"
    assert ComparedScores.open(tmp_path / "many").titles == ("msp",)


def test_a_method_that_one_process_cannot_fit_fails_for_all(store, tmp_path, monkeypatch):
    take = energy.Entry._fit
    monkeypatch.setattr("ltood.scoring.session.crew_of", own_crew)

    def fails_for_the_second(self, inputs):
        if inputs.crew.part.number == 1:
            raise MemoryError("too little")
        return take(self, inputs)

    monkeypatch.setattr(energy.Entry, "_fit", fails_for_the_second)
    boards = together(monkeypatch, 3, store, Config(("energy", "knn")), tmp_path / "many")
    for board in boards:
        assert by_title(board)["energy"]["reason"] == "process 1: MemoryError: too little"
        assert by_title(board)["knn"]["status"] == "ok"
