import json

import pytest

from ltood.core.registry import available

KINDS = ("methods", "calibrators", "normalisers", "datasets", "backbones", "recipes")


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_names_every_entry_and_the_other_lists(ltood, kind):
    *lines, last = ltood("list", kind).stdout.splitlines()
    assert [line.split()[0] for line in lines if line] == available(kind)
    assert all(other in last for other in KINDS)


def test_methods_are_listed_by_default(ltood):
    assert ltood("list").stdout == ltood("list", "methods").stdout


@pytest.fixture
def entries(ltood):
    return json.loads(ltood("list", "methods", "--json").stdout)


def test_types_are_in_the_words_of_error_messages(entries):
    types = {value["type"] for entry in entries for value in entry["settings"].values()}
    assert "a number above 0 or 'auto' or null" in types
    assert not any("<class" in name or "typing" in name for name in types)


def test_needs_and_defaults_are_listed(entries):
    knn = next(entry for entry in entries if entry["name"] == "knn")
    assert knn["needs"] == ["train"]
    assert knn["may_read"] == []
    assert knn["settings"]["k"]["default"] == 50
    assert knn["settings"]["k"]["limits"]["at_least"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_explained(ltood, kind):
    listed = json.loads(ltood("list", kind, "--json").stdout)
    settings = [(entry["name"], *item) for entry in listed for item in entry["settings"].items()]
    assert [name[:2] for name in settings if not name[2]["meaning"]] == []


def test_one_entry_is_shown_with_its_settings(ltood):
    shown = ltood("list", "methods", "knn").stdout
    assert "methods.knn" in shown
    assert "k: a whole number from 1" in shown
    assert "Rank of the neighbour" in shown
    assert "50" in shown
    assert ltood("list", "knn").stdout == shown


def test_one_entry_as_json(ltood, entries):
    assert json.loads(ltood("list", "knn", "--json").stdout) in entries


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["methds"], ["'methds'", "methods"]),
        (["energi"], ["'energi'", "energy"]),
        (["methods", "kn"], ["'kn'", "knn"]),
        (["none"], ["calibrators", "normalisers"]),
        (["x", "y"], ["'x'", "methods"]),
    ],
)
def test_unknown_names_are_refused(ltood, arguments, words):
    said = ltood("list", *arguments, code=1).stderr
    assert all(word in said for word in words), said
