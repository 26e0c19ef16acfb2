"""Tables as HTML, for notebooks."""

import html
from collections.abc import Sequence


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """A heading and rows of cells as an HTML table."""
    heading, *others = rows
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in others)
    return f"<table><thead><tr>{_cells(heading, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
