"""Write docs/entries.md: every entry with its source, needs and settings.

python docs/make_entries.py           write the page
python docs/make_entries.py --check   exit 1 if the page is not up to date
"""

import ast
import re
import sys
from pathlib import Path

from ltood.core.registry import TRANSDUCTIVE, available, flag, load, summary
from ltood.core.settings import to_section

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "entries.md"
KINDS = ("methods", "calibrators", "normalisers", "recipes", "backbones", "datasets")
INTRODUCTION = """# Every entry

A name is a file name: method `knn` is `ltood/methods/knn.py`. Written by `docs/make_entries.py`
from the files themselves; a test keeps it up to date.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION]
    for kind in KINDS:
        parts.append(f"\n## {kind.capitalize()}\n")
        parts.append("| name | what | source | needs | settings |")
        parts.append("|---|---|---|---|---|")
        parts += [_row(kind, name) for name in available(kind)]
        departures = {name: text for name in available(kind) if (text := _departures(kind, name))}
        if departures:
            parts += [f"\nWhere {kind} depart from papers and published codes:\n"]
            parts += ["| name | departures |", "|---|---|"]
            parts += [f"| `{name}` | {_cell(text)} |" for name, text in departures.items()]
    return "\n".join(parts) + "\n"


def _row(kind: str, name: str) -> str:
    module = load(kind, name)
    entry = getattr(module, "Entry", None)
    needs = ", ".join(
        sorted(need.name.lower() for need in getattr(entry, "needs", ()))
        + [f"{need.name.lower()} if there" for need in getattr(entry, "may_read", ())]
    )
    settings = ", ".join(
        f"`{key}: {_plain(value)}`" for key, value in to_section(module.Config()).items()
    )
    mark = " **Transductive.**" if flag(kind, name, TRANSDUCTIVE) else ""
    cells = (f"`{name}`", summary(kind, name) + mark, _source(kind, name), needs, settings)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(value: object) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def _docstring(kind: str, name: str) -> str:
    """Docstring of the entry's module without its formula."""
    text = (ROOT / "ltood" / kind / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\nFormula:\n")[0]


def _departures(kind: str, name: str) -> str:
    """What follows "Departure:" or "Departures:" in a paragraph of the docstring, in one line."""
    for paragraph in _docstring(kind, name).split("\n\n"):
        line = " ".join(paragraph.split())
        if found := re.search(r"\bDepartures?\b(?:,? ?([^:.]*)): (.+)", line):
            about, text = found.groups()
            return f"{about}: {text}" if about else text
    return ""


def _source(kind: str, name: str) -> str:
    """The sentence after "Source:" or "Sources:" of the docstring, in one line."""
    docstring = " ".join(_docstring(kind, name).split())
    found = re.search(r"Sources?:\s*(.*?)(?:\)\.|\.\s|$)", docstring)
    if not found:
        return ""
    source = found.group(1)
    return source + (")" if source.count("(") > source.count(")") else "")


def main() -> int:
    """Write or check; returns the exit code."""
    text = page()
    if "--check" in sys.argv[1:]:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        print("up to date" if same else "out of date: run python docs/make_entries.py")
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
