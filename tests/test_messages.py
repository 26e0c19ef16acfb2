"""tests/messages.txt holds what users read, so that a change of it is reviewed as prose."""

import ast
import re

import pytest

from tests import messages

TEXT = messages.collect()


def test_the_snapshot_is_up_to_date():
    """If not, run `python tests/messages.py` and read the difference."""
    assert messages.OUT.read_text(encoding="utf-8") == TEXT


def test_kinds_of_texts_are_found():
    for part in (
        "  - fit needs {need.value}",  # an error
        "  - Replace an existing score store.",  # help of an option
        "  - Compute AUROC, FPR95, AP, AUPR and accuracies; write JSON",  # help of a command
        "  - {store}: {classes}, fingerprint",  # a print
    ):
        assert part.removeprefix("  ") in TEXT
    tree = ast.parse(
        '"""A docstring of words."""\nx = f"one {two!r} three {four:.1f} five"\ny = "a b"'
    )
    assert list(messages.texts(tree, messages.ROOT / "x.py")) == ["one {two} three {four} five"]


@pytest.mark.parametrize("word", ["mend", "anew", "likewise", "something else than"])
def test_words_that_readers_stumble_over_are_gone(word):
    assert re.findall(rf".*\b{word}\b.*", TEXT) == []


def test_what_a_thing_is_not_is_said_in_plain_english():
    assert re.findall(r".*(?<!there )(?<!There )\bis no \w+.*", TEXT) == []
