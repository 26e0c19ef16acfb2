from pathlib import Path

import pytest

from ltood.sets.catalogue import known_sets

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text(encoding="utf-8")


def row(known):
    """Line of the page's table for one set."""
    what = f"[{known.title}]({known.page}): {known.content}"
    return f"| `{known.name}` | {what} | {known.origin} | {'; '.join(known.papers)} |"


@pytest.mark.parametrize("known", known_sets().values(), ids=lambda known: known.name)
def test_the_page_tells_of_every_set_what_the_catalogue_says(known):
    assert row(known) in PAGE.splitlines()


def test_the_page_tells_of_no_other_set():
    assert PAGE.count("\n| `") - len(known_sets()) == PAGE.count("\n| `name=")
