"""Records: their form, the rules beyond it, and that each fault is named."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from ltood.boards.form import check_form
from ltood.boards.record import FOLDER, Record, check, name_of, records_in, schema
from ltood.core.errors import CorruptStoreError, DataError
from ltood.runtime.files import to_json_bytes
from ltood.tables.spec import BOARDS, FLAGS


def test_a_record_is_read_as_it_was_written(content, tmp_path):
    record = Record.of(content, tmp_path)
    record.write()
    assert record.path.name == "small-v2-knn-more.json"
    (found,) = records_in(tmp_path)
    assert found == record
    Draft7Validator(schema()).validate(content)


def test_the_form_knows_all_flags_and_boards():
    found = schema()["properties"]
    assert found["flags"]["items"]["enum"] == list(FLAGS)
    assert found["table"]["properties"]["board"]["enum"] == [*BOARDS, None]
    Draft7Validator.check_schema(schema())


FAULTS = [
    (("schema",), 2, "schema"),
    (("schema",), True, "schema"),
    (("table", "name"), "../x", "table.name"),
    (("table", "version"), 0, "table.version"),
    (("table", "board"), "cifar", "table.board"),
    (("row",), " ", "row"),
    (("method",), "os.system", "method"),
    (("flags",), ["best"], "flags[0]"),
    (("submitted", "date"), "today", "submitted.date"),
    (("runs",), [], "runs"),
    (("runs", 0, "features"), "0a", "runs[0].features"),
    (("runs", 0, "address"), "ssh://host/x", "runs[0].address"),
    (("runs", 0, "scores", "test"), "0a", "runs[0].scores.test"),
    (("runs", 1, "seed"), -1, "runs[1].seed"),
    (("runs", 0, "metrics", "ood", "far", "auroc"), "0.9", "runs[0].metrics.ood.far.auroc"),
    (("runs", 0, "metrics", "mean", "false_alarms", "few"), 2, "mean.false_alarms.few"),
    (("more",), 1, "more"),
    (("runs", 0, "code", "run"), "rm", "run"),
]


def changed(content, path, value):
    found = copy.deepcopy(content)
    *outer, last = path
    inner = found
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return found


@pytest.mark.parametrize(("path", "value", "named"), FAULTS)
def test_faults_of_form_are_named(content, path, value, named):
    broken = changed(content, path, value)
    with pytest.raises(DataError) as error:
        check(broken, "x.json")
    assert named in str(error.value)
    assert not Draft7Validator(schema()).is_valid(broken)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("runs", 1, "seed"), 0, "runs"),
        (("runs", 0, "metrics", "mean", "auroc"), 0.999, "mean.auroc"),
        (("runs", 0, "metrics", "ood", "far", "auroc"), 0.999, "mean.auroc"),
        (("runs", 0, "metrics", "ood", "far", "fpr95_id_pos"), 1.5, "fpr95_id_pos"),
        (("runs", 0, "metrics", "ood"), {}, "metrics.ood"),
        (("runs", 0, "scores"), {"test": "0" * 64}, "ood_far"),
        (("runs", 0, "metrics", "stream"), {}, "transductive"),
    ],
)
def test_faults_beyond_the_form_are_named(content, path, value, named):
    with pytest.raises(DataError) as error:
        check(changed(content, path, value), "x.json")
    assert named in str(error.value)


@pytest.mark.parametrize("key", ["schema", "table", "method", "flags", "runs"])
def test_a_missing_key_is_named(content, key):
    del content[key]
    with pytest.raises(DataError) as error:
        check(content, "x.json")
    assert key in str(error.value)


def test_a_record_has_the_name_of_its_row(content, tmp_path):
    path = tmp_path / "best.json"
    path.write_bytes(to_json_bytes(content))
    with pytest.raises(DataError) as error:
        Record.read(path)
    assert name_of(content) in str(error.value)


def test_what_is_missing_or_no_json_is_refused(tmp_path):
    with pytest.raises(DataError):
        Record.read(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(CorruptStoreError):
        list(records_in(tmp_path))


#: JSON Schema takes 1.0 for a whole number, so that there are no such floats among these.
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x % 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=30)
@given(st.sampled_from([path for path, _, _ in FAULTS]), PLAIN)
def test_the_form_says_what_json_schema_says(board_content, path, value):
    """Wherever a record is changed, and to whatever, both agree whether it has the form."""
    broken = changed(board_content, path, value)
    try:
        check_form(broken, schema(), "x.json")
        right = True
    except DataError:
        right = False
    assert right == Draft7Validator(schema()).is_valid(broken)


def test_every_record_of_the_repository_is_sound():
    for record in records_in(FOLDER):
        assert record.content["submitted"]["by"]
