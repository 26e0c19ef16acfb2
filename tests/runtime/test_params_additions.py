"""Settings added to a parameter file: all of it stays, and its values are the merged ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.runtime.params import parse_params, read_params
from ltood.runtime.params_additions import comments_of, with_missing

HEAD = "# Mine.\nmethod: knn  # best\n"


def added(path, text, missing, comments=None):
    path.write_bytes(text.encode())
    made = with_missing(path, missing, comments)
    path.write_bytes(made.encode())
    return made


@pytest.mark.parametrize(
    ("text", "missing", "wanted"),
    [
        (
            "a:\n  b: 1  # x\n\n# c\nc: 2\n",
            {"a": {"d": 3}},
            "a:\n  b: 1  # x\n  d: 3\n\n# c\nc: 2\n",
        ),
        ("a:\n    b: 1\n", {"a": {"d": [1]}}, "a:\n    b: 1\n    d:\n      - 1\n"),
        ("a: {}  # x\nb: 1\n", {"a": {"d": 3}}, "a:  # x\n  d: 3\nb: 1\n"),
        ("a:  # x\nb: 1\n", {"a": {"d": None}}, "a:  # x\n  d:\nb: 1\n"),
        ("a: ~\n", {"a": {"d": True}}, "a:\n  d: true\n"),
        (
            "a:\n  b:\n    c: [1,\n      2]\ne: 1\n",
            {"a": {"b": {"d": 1}}},
            "a:\n  b:\n    c: [1,\n      2]\n    d: 1\ne: 1\n",
        ),
        ("a:\n  b: |\n    x\nc: 1\n", {"a": {"d": 1}}, "a:\n  b: |\n    x\n  d: 1\nc: 1\n"),
        ("a:\n  - 1\n  - b: 2\n", {"c": {"d": 1}}, "a:\n  - 1\n  - b: 2\nc:\n  d: 1\n"),
        ("a: 1", {"b": 2}, "a: 1\nb: 2\n"),
        ("a: 'é #'\r\nb:\r\n  c: 1\r\n", {"b": {"d": 2}}, "a: 'é #'\r\nb:\r\n  c: 1\r\n  d: 2\r\n"),
        ("---\na:\n  b: 1\n...\n", {"a": {"c": 2}}, "---\na:\n  b: 1\n  c: 2\n...\n"),
        ('"a":\n  "b": 1\n', {"a": {"c": 2}}, '"a":\n  "b": 1\n  c: 2\n'),
    ],
)
def test_a_setting_stands_at_the_end_of_its_section(text, missing, wanted, tmp_path):
    assert added(tmp_path / "p.yaml", text, missing) == wanted


@pytest.mark.parametrize("text", ["a: {b: 1}  # x\nc: 2  # y\n", "{a: {b: 1}, c: 2}\n"])
def test_sections_in_braces_take_settings_too(text, tmp_path):
    made = added(tmp_path / "p.yaml", text, {"a": {"d": 3}})
    assert read_params(tmp_path / "p.yaml") == {"a": {"b": 1, "d": 3}, "c": 2}
    assert made.count("#") == text.count("#")


@pytest.mark.parametrize("content", [None, "", "# Only this.\n", "methods:\n"])
def test_sections_are_added_to_what_is_empty(content, tmp_path):
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content)
    text = with_missing(path, {"methods": {"msp": {}}})
    assert ("# Only this." in text) == ("#" in (content or ""))
    path.write_text(text)
    assert read_params(path) == {"methods": {"msp": {}}}


def test_comments_are_those_after_settings():
    text = (
        "# top\na: 1  # one\nb:  # two\nc:  # three\n  # inside\n  d: 'x # y'  # four\n"
        "  e: [1, 2]  # five\n  f: 'x # y'\ng: 1\n"
    )
    assert comments_of(text) == {
        ("a",): "# one",
        ("b",): "# two",
        ("c",): "# three",
        ("c", "d"): "# four",
        ("c", "e"): "# five",
    }


def test_new_settings_bring_their_comments(tmp_path):
    comments = {("a",): "# x", ("a", "b"): "# y", ("a", "c"): "# z"}
    made = added(tmp_path / "p.yaml", HEAD, {"a": {"b": None, "c": [1]}}, comments)
    assert made == f"{HEAD}a:  # x\n  b:  # y\n  c:  # z\n    - 1\n"


KEYS = st.text("abc é", min_size=1, max_size=3).filter(lambda key: key == key.strip())
VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab#:' é\n", max_size=4)
SECTIONS = st.dictionaries(
    KEYS, VALUES | st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=2), max_size=4)
)


@settings(deadline=None, max_examples=30)
@given(SECTIONS, st.data())
def test_what_is_taken_away_comes_back_and_all_lines_stay(tmp_path_factory, whole, data):
    kept, missing = {}, {}
    for name, value in whole.items():
        where = data.draw(st.sampled_from(["kept", "missing", "both"]))
        if where == "both" and isinstance(value, dict):
            split = data.draw(st.sets(st.sampled_from(sorted(value))) if value else st.just(set()))
            kept[name] = {key: inner for key, inner in value.items() if key not in split}
            if split:
                missing[name] = {key: inner for key, inner in value.items() if key in split}
        else:
            (missing if where == "missing" else kept)[name] = value
    path = tmp_path_factory.getbasetemp() / "some.yaml"
    path.write_text("")
    before = with_missing(path, kept, {(name,): "# of mine" for name in kept}) if kept else ""
    after = added(path, before, missing)
    assert parse_params(after, path) == whole
    left = iter(after.splitlines())
    assert all(line in left for line in before.splitlines() if "{}" not in line)
