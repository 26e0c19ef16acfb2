"""Pages of the site that are written from the code while it is built: a hook of MkDocs.

`mkdocs build --strict` calls it; nothing of it is kept in the repository.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "methods": "Post-hoc scores: features and logits of a row become one number.",
    "calibrators": "Maps of features that come before a method.",
    "normalisers": "Maps of scores that come after a method.",
    "recipes": "What a network is trained on, with which loss; or how a head is made from text.",
    "backbones": "Networks, and how their features are read.",
    "datasets": "Where images, labels and OOD sets come from.",
}

#: Kinds whose entries have a formula, and its symbols.
SCORED = ("methods", "calibrators", "normalisers")
NOTATION = """In formulas f is the feature vector of a row, with D numbers, and z its logits over C
classes; W and b are the head, with rows w_c, so that z = W f + b. m_c is the mean training feature
of class c, T a temperature, |x| a length, x . y an inner product and x' a transpose. prior holds
the shares of the classes in training. Names of settings stand for their values. A higher score
means more OOD."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that the navigation does not name into the section of guides."""
    named = set(_leaves(config.nav or []))
    pages = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
    by_folder: dict[str, list[str]] = {}
    for page in pages:
        if page.as_posix() not in named:
            by_folder.setdefault(page.parent.as_posix(), []).append(page.as_posix())
    for section in config.nav or []:
        for content in section.values():
            for place in [entry for entry in content if isinstance(entry, dict)]:
                for title, entry in place.items():
                    # A folder with an ending stroke stands for its pages.
                    if isinstance(entry, str) and entry.endswith("/"):
                        place[title] = by_folder.pop(entry.rstrip("/"), [])
    rest = [page for folder in sorted(by_folder) for page in by_folder[folder]]
    guides = next(section["How-to"] for section in config.nav or [] if "How-to" in section)
    guides.extend(rest)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of entries and of the command line."""
    for kind, about in KINDS.items():
        files.append(File.generated(config, f"reference/{kind}.md", content=entries(kind, about)))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    files.append(File.generated(config, "reference/metrics.md", content=metrics()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write the leaderboard; link names on the page of all entries to their sections."""
    del config, files
    if page.file.src_uri == "leaderboard.md":
        introduction, mark, rest = markdown.partition("\n## ")
        return f"{introduction}\n{leaderboard()}{mark}{rest}"
    if page.file.src_uri != "entries.md":
        return markdown
    parts = re.split(r"(?m)^## (\w+)$", markdown)
    for place in range(1, len(parts), 2):
        kind = parts[place].lower()
        parts[place + 1] = re.sub(
            r"(?m)^\| `(\w+)`", rf"| [`\1`](reference/{kind}.md#\1)", parts[place + 1]
        )
        parts[place] = f"## {parts[place]}"
    return "".join(parts)


def leaderboard() -> str:
    """Tables of the leaderboard, from the records of the repository."""
    from ltood.boards.page import as_markdown
    from ltood.boards.record import FOLDER, records_in
    from ltood.tables.spec import known_tables, load_table

    tables = [load_table(name, ROOT) for name in known_tables(ROOT)]
    return as_markdown(list(records_in(ROOT / FOLDER)), tables)


def _leaves(nav: Iterable[Any]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for content in entry.values():
                yield from _leaves(content if isinstance(content, list) else [content])


def entries(kind: str, about: str) -> str:
    """Page of one kind: a section for each entry with formula, settings and source."""
    from ltood.core.registry import available

    sections = [_entry(kind, name) for name in available(kind)]
    introduction = f"# {kind.capitalize()}\n\n{about} [All kinds in one table](../entries.md).\n"
    if kind in SCORED:
        introduction += f"\n{NOTATION}\n"
    return "\n".join([introduction, *sections])


def _entry(kind: str, name: str) -> str:
    from ltood.core.registry import TRANSDUCTIVE, flag, load, source_file
    from ltood.core.settings import describe

    docstring = ast.get_docstring(ast.parse(source_file(kind, name).read_bytes())) or ""
    summary, _, rest = docstring.partition("\n")
    module = load(kind, name)
    entry = getattr(module, "Entry", None)
    needs = sorted(need.name.lower() for need in getattr(entry, "needs", ()))
    lines = [f"## {name}", "", summary, "", paragraphs(rest), ""]
    if kind in SCORED and name != "none":
        lines += [f"In Python: `ltood.{entry.__name__}`.", ""]
    if flag(kind, name, TRANSDUCTIVE):
        lines += ["Transductive: see [streams](../how-to/streams.md).", ""]
    if needs:
        lines += [f"Needs: {', '.join(f'`{need}`' for need in needs)}.", ""]
    for need in getattr(entry, "may_read", ()):
        lines += [f"Learns from `{need.name.lower()}`, too, where it is there.", ""]
    settings = describe(module.Config)
    if settings:
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
        lines += [_setting(key, found) for key, found in settings.items()]
    else:
        lines.append("It takes no settings.")
    return "\n".join([*lines, ""])


def paragraphs(docstring: str) -> str:
    """Docstring as Markdown: a paragraph that starts with "Formula:" becomes a block of text."""
    found = []
    for paragraph in docstring.strip().split("\n\n"):
        label, _, formula = paragraph.partition("\n")
        if label == "Formula:":
            found.append(f"```text\n{_unindented(formula)}\n```")
        else:
            found.append(_plain(paragraph))
    return "\n\n".join(found)


def _unindented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


def _plain(text: str) -> str:
    """Text with what Markdown would take for marks outside of code set apart."""
    parts = re.split(r"(`+[^`]*`+)", text)
    parts[::2] = [re.sub(r"([*_<\[])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _setting(key: str, found: dict[str, Any]) -> str:
    default = (
        {None: "null", True: "true", False: "false"}.get(found["default"], found["default"])
        if isinstance(found["default"], bool | None)
        else found["default"]
    )
    cells = (f"`{key}`", found["type"], f"`{default}`", _plain(found["meaning"]))
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def command_line() -> str:
    """Page of the command line: every command with its arguments and options."""
    import typer

    from ltood.cli import app

    group: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        "",
        "`ltood COMMAND -h` prints the same. Exit codes: 0 for success, 1 for an error that one "
        "line on standard error explains, 2 for a command line that cannot be understood, 130 "
        "after an interrupt.",
        "",
    ]
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {"": command})
        for below, found in inner.items():
            parts += _command(f"{name} {below}".strip(), found)
    return "\n".join(parts)


def _command(name: str, command: Any) -> list[str]:  # noqa: ANN401 - Typer does not name its type
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    shown = " ".join(p.name.upper() + "..." * (p.nargs != 1) for p in arguments)
    lines = [f"## ltood {name}", "", _plain(command.help or ""), ""]
    lines += ["```text", f"ltood {name} {shown} [OPTIONS]".replace("  ", " "), "```", ""]
    if command.params:
        lines += ["| | meaning | default |", "|---|---|---|"]
        lines += [_parameter(p) for p in (*arguments, *options)]
    return [*lines, ""]


def _parameter(parameter: Any) -> str:  # noqa: ANN401 - Typer does not name its type
    is_option = parameter.param_type_name == "option"
    named = (
        ", ".join(f"`{o}`" for o in parameter.opts) if is_option else f"`{parameter.name.upper()}`"
    )
    default = "required" if parameter.required else parameter.default
    shown = "" if default in (None, (), [], False) or callable(default) else f"`{default}`"
    cells = (named, _plain(getattr(parameter, "help", None) or ""), shown)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def metrics() -> str:
    """Page of the metrics, from their table."""
    from ltood.metrics import JUDGED, METRICS

    lines = [
        "# Metrics",
        "",
        "Computed for each OOD set; the figure of a method is the mean over the sets. Fractions in "
        "files, percent in tables ([conventions](conventions.md#metrics)).",
        "",
        "| key | meaning | better | computed so by |",
        "|---|---|---|---|",
    ]
    for key, metric in {**METRICS, **JUDGED}.items():
        better = "higher" if metric.higher_is_better else "lower"
        lines.append(f"| `{key}` | {metric.meaning} | {better} | {metric.computed_by} |")
    return "\n".join([*lines, ""])
