"""Records recomputed from features: the same to the bit, near enough, or off."""

import pytest

from ltood.boards.record import Record
from ltood.boards.submitting import submit
from ltood.boards.verifying import refuse_off, verify, verify_all
from ltood.core.errors import DataError, UnknownNameError
from ltood.sharing.addresses import open_place
from ltood.sharing.card import Remarks
from ltood.sharing.pushing import push
from ltood.sharing.subjects import open_subject
from ltood.tables.view import View
from tests.boards.board_samples import content_of, make_table, make_view
from tests.comparing.compare_samples import make_store


def verdicts(content, store):
    return list(verify(Record.of(content), [store.path], device="cpu"))


def test_a_record_is_recomputed_to_the_bit(content, board_store):
    found = verdicts(content, board_store)
    assert [verdict.seed for verdict in found] == [0, 1]
    assert all(verdict.exact and verdict.is_right for verdict in found)
    refuse_off(found, skip=False)


def test_a_record_keeps_what_its_row_reads(content):
    settings = content["runs"][0]["settings"]
    assert settings["methods"] == {"knn": {**settings["methods"]["knn"], "k": 3}}
    assert settings["method"] == "knn"
    assert set(content["runs"][0]["scores"]) == {"test", "ood_far", "ood_near"}
    metrics = content["runs"][0]["metrics"]
    assert {"fpr95_ood_pos", "fpr95_id_pos"} <= set(metrics["ood"]["far"])
    assert metrics["groups"]["near"]["auroc"] == metrics["ood"]["near"]["auroc"]
    assert content["flags"] == ["auxiliary"]


def moved(content, by):
    """Metrics of one set moved, and their mean with them."""
    for run in content["runs"]:
        far, mean = (run["metrics"][key] for key in ("ood", "mean"))
        far["far"]["auroc"] -= by
        mean["auroc"] -= by / 2
    return content


def test_better_metrics_than_the_scores_have_are_off(content, board_store):
    found = verdicts(moved(content, 0.0005), board_store)
    assert all(verdict.exact and not verdict.is_right for verdict in found)
    assert "auroc on far" in found[0].off[0]
    with pytest.raises(DataError):
        refuse_off(found, skip=True)


def test_other_bits_are_taken_within_the_tolerance(content, board_store):
    for run in content["runs"]:
        run["scores"] = dict.fromkeys(run["scores"], "0" * 64)
    near = verdicts(moved(content, 0.0005), board_store)
    assert all(verdict.is_right and not verdict.exact for verdict in near)
    assert near[0].widest == pytest.approx(0.0005)
    far = verdicts(moved(content, 0.2), board_store)
    assert not any(verdict.is_right for verdict in far)


def test_other_settings_give_other_scores(content, board_store):
    for run in content["runs"]:
        run["settings"]["methods"]["knn"]["k"] = 30
    assert not any(verdict.exact for verdict in verdicts(content, board_store))


def test_features_that_are_not_at_hand_are_told(content, tmp_path):
    other = make_store(tmp_path, splits=("train", "test", "ood_far"))
    found = verdicts(content, other)
    assert all(verdict.reason and verdict.exact is None for verdict in found)
    refuse_off(found, skip=True)
    with pytest.raises(DataError):
        refuse_off(found, skip=False)


def test_features_are_fetched_from_their_address(view, board_store, tmp_path):
    subject, place = open_subject(board_store.path), open_place(str(tmp_path / "public0"))
    push(subject, place, Remarks())
    content = content_of(view, address=f"{tmp_path}/public{{seed}}")
    record = Record.of(content)
    record.content["runs"].pop()
    (found,) = verify(record, [], fetch=True, device="cpu")
    assert found.exact
    record.content["runs"][0]["features"] = "0" * 64
    with pytest.raises(DataError):
        list(verify(record, [], fetch=True, device="cpu"))


def test_an_unknown_method_is_refused(content, board_store):
    content["method"] = "not_a_method"
    with pytest.raises(UnknownNameError):
        verdicts(content, board_store)


def test_all_rows_are_submitted(view, board_store):
    records = submit(view, None, "A. Person", None)
    names = [record.path.name for record in records]
    assert names == ["small-v2-msp.json", "small-v2-knn-more.json"]
    found = list(verify_all([view.root / "leaderboard"], [board_store.path], device="cpu"))
    assert len(found) == 4
    assert all(verdict.exact for verdict in found)


def test_gaps_and_unknown_rows_are_refused(view):
    first = view.cells[0].name
    records = {name: record for name, record in view.records.items() if name != first}
    gap = View(view.root, view.table, view.cells, view.states, records, {first: "no luck"})
    with pytest.raises(DataError) as error:
        submit(gap, "MSP", "A. Person", None)
    assert "no luck" in str(error.value)
    with pytest.raises(UnknownNameError):
        submit(view, "NSP", "A. Person", None)


def test_a_row_that_scores_a_stream_is_marked_and_compared_by_metrics(board_store, tmp_path):
    doda = {"methods": {"doda": {"batch": 6, "window": 6, "orders": 2}}}
    rows = [{"name": "DODA", "method": "doda", "params": {"recipe": "cross_entropy", **doda}}]
    table = make_table(rows=rows, published=[], seeds=[0])
    content = content_of(make_view(tmp_path, board_store, table), 0)
    assert content["flags"] == ["transductive"]
    (found,) = verdicts(content, board_store)
    assert found.is_right
    assert found.exact is None
    assert found.widest == 0
    (off,) = verdicts(moved(content, 0.2), board_store)
    assert not off.is_right
