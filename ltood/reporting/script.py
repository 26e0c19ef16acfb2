"""The script of pages: tables whose columns sort, and forms that filter their rows.

A page reads the same without it. `table.board` sorts by its last row of headings: a cell's
`data-value` is its number, empty where there is none; without one the text counts. `data-first` of
a heading is the direction of the first click. `form.filter` has the id of a table in `data-table`,
a search field, and boxes whose values stand in the rows' `data-needs`.
"""

import base64
import hashlib
from pathlib import Path


def script() -> str:
    """The text of the script element."""
    return (Path(__file__).parent / "sorting.js").read_text(encoding="utf-8").strip()


def policy(text: str, *, images: bool = False) -> str:
    """Content security policy of a page that runs one script and loads nothing.

    Args:
        text: The text of the script element.
        images: Whether there are images, which stand in the page as data.
    """
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    parts = ["default-src 'none'", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'"]
    return "; ".join([*parts, *(["img-src data:"] if images else [])])
