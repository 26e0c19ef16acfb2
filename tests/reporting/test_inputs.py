import json

import pytest

from ltood.core.errors import DataError
from ltood.evaluation.binding import bind, write_bound
from ltood.evaluation.measures import Evaluation
from ltood.reporting.inputs import read_leaderboard, read_metrics
from tests.reporting.report_samples import ROWS, board_of, make_store


@pytest.fixture
def evaluation():
    return Evaluation(make_store())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "result.json"


def write_metrics(path, evaluation):
    write_bound(path, bind(evaluation.metrics, scores=evaluation.fingerprint))


def test_metrics_of_the_same_scores_are_read(path, evaluation):
    write_metrics(path, evaluation)
    assert read_metrics(path, evaluation) == evaluation.metrics


def test_metrics_of_other_scores_are_refused(path, evaluation):
    write_metrics(path, Evaluation(make_store(sets=("near", "far"))))
    with pytest.raises(DataError, match="scores"):
        read_metrics(path, evaluation)


def test_edited_metrics_are_refused(path, evaluation):
    write_metrics(path, evaluation)
    content = json.loads(path.read_text())
    content["mean"]["auroc"] += 0.01
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="edited"):
        read_metrics(path, evaluation)


def test_a_leaderboard_of_the_same_features_is_read(path, evaluation):
    write_bound(path, board_of(ROWS))
    assert read_leaderboard(path, evaluation)["rows"] == ROWS


def test_a_leaderboard_of_other_features_is_refused(path, evaluation):
    write_bound(path, board_of(ROWS, features="77" * 32))
    with pytest.raises(DataError, match=r"features 777777777777.*9f2c9f2c9f2c"):
        read_leaderboard(path, evaluation)


def test_scores_that_do_not_record_their_features_have_no_leaderboard(path):
    write_bound(path, board_of(ROWS))
    store = make_store()
    del store.attributes["features_fingerprint"]
    with pytest.raises(DataError, match="features"):
        read_leaderboard(path, Evaluation(store))
