import json

import pytest

from ltood.core.errors import CorruptStoreError, DataError
from ltood.evaluation.binding import bind, read_bound, write_bound

CONTENT = {"id": {"accuracy": 0.75, "few": None}, "ood": {"far": {"auroc": 1 / 3}}}
SCORES = "5c" * 32


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results" / "metrics.json"
    write_bound(path, bind(CONTENT, scores=SCORES))
    return path


def test_a_result_comes_back_as_it_was(path):
    assert read_bound(path, "evaluate", scores=SCORES) == CONTENT


def test_it_is_written_sorted_and_replaced_whole(path):
    first = path.read_bytes()
    assert list(json.loads(first)) == ["id", "made_from", "ood"]
    write_bound(path, json.loads(first))
    assert path.read_bytes() == first
    with pytest.raises(ValueError, match="JSON"):
        write_bound(path, {"auroc": float("nan")})
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]


def test_binding_again_changes_nothing():
    bound = bind(CONTENT, scores=SCORES)
    assert bind(bound, scores=SCORES) == bound


def edited(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["ood"]["far"].update(auroc=0.34),
        lambda content: content["ood"].update(near=content["ood"]["far"]),
        lambda content: content["id"].pop("few"),
        lambda content: content["id"].update(few=0.0),
        lambda content: content.update(more=1),
    ],
)
def test_an_edited_result_is_refused(path, change):
    edited(path, change)
    with pytest.raises(DataError, match=r"metrics\.json was edited .* run the evaluate stage"):
        read_bound(path, "evaluate", scores=SCORES)


def test_a_result_of_other_inputs_is_refused(path):
    other = "0a" * 32
    with pytest.raises(DataError, match=f"scores {SCORES[:12]}.*{other[:12]}"):
        read_bound(path, "evaluate", scores=other)
    with pytest.raises(DataError, match="features None"):
        read_bound(path, "evaluate", features=SCORES)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", '{"made_from": 3}', '{"made_from": [{}]}', '{"id": {}}']
)
def test_a_file_that_is_not_a_bound_result_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json does not record"):
        read_bound(path, "evaluate", scores=SCORES)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000])
def test_a_file_that_is_not_json_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(CorruptStoreError, match=r"metrics\.json .*run the evaluate stage again"):
        read_bound(path, "evaluate", scores=SCORES)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"metrics\.json is missing; run the evaluate stage"):
        read_bound(tmp_path / "metrics.json", "evaluate")
