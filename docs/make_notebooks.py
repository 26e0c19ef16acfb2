"""Write docs/notebooks/*.ipynb from the first two tutorials: one source, two forms.

python docs/make_notebooks.py           write them
python docs/make_notebooks.py --check   exit 1 if one is not up to date
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGES = ("first-report", "own-images")
_FENCE = re.compile(r"(?m)^```(\w+)?([^\n]*)\n(.*?)^```$", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: Such as "python" or "console"; empty where none is named.
        title: File that the block shows, or None.
        text: What is in it.
    """

    language: str
    title: str | None
    text: str

    def commands(self) -> list[str]:
        """Lines that start with $ in a block of the console, continued lines joined."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(text: str) -> list[Block]:
    """Fenced blocks of a page, in order."""
    return [_block(*found.groups()) for found in _FENCE.finditer(text)]


def notebook(text: str) -> str:
    """A page as a notebook, with the same bytes for the same page."""
    cells: list[dict[str, Any]] = []
    done = 0
    for found in _FENCE.finditer(text):
        block = _block(*found.groups())
        if block.title or block.language not in ("python", "console"):
            continue
        cells.append(_markdown(text[done : found.start()]))
        source = block.text if block.language == "python" else _shell(block)
        cells.append(
            {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
             "source": source.strip()}
        )  # fmt: skip
        done = found.end()
    cells.append(_markdown(text[done:]))
    cells = [cell for cell in cells if cell["source"]]
    content = {
        "cells": [{"id": f"cell-{place}", **cell} for place, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _block(language: str | None, rest: str, text: str) -> Block:
    title = _TITLE.search(rest)
    return Block(language or "", title and title[1], text)


def _shell(block: Block) -> str:
    return "\n".join(f"!{command}" for command in block.commands())


def _markdown(text: str) -> dict[str, Any]:
    # Links of the page lead from docs/tutorials; those of the notebook from docs/notebooks.
    text = re.sub(r"\]\((?!\.\./|https?:|#)([\w-]+\.md)", r"](../tutorials/\1", text)
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip()}


def main() -> int:
    """Write or check; returns the exit code."""
    wanted = {
        DOCS / "notebooks" / f"{page}.ipynb": notebook(
            (DOCS / "tutorials" / f"{page}.md").read_text(encoding="utf-8")
        )
        for page in PAGES
    }
    if "--check" in sys.argv[1:]:
        same = all(p.is_file() and p.read_text("utf-8") == text for p, text in wanted.items())
        print("up to date" if same else "out of date: run python docs/make_notebooks.py")
        return 0 if same else 1
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
