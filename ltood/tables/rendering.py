"""A filled table as text for the terminal, Markdown, CSV, LaTeX and HTML."""

import csv
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ltood.core.prior import GROUPS
from ltood.evaluation.tables import aligned
from ltood.metrics import JUDGED, METRICS
from ltood.runtime.latex import escaped
from ltood.tables.published import Published
from ltood.tables.spec import FLAGS
from ltood.tables.statistics import Figure
from ltood.tables.summary import Filled, Line

_LOWER = {key for key, metric in METRICS.items() if not metric.higher_is_better} | {
    key for key, metric in JUDGED.items() if not metric.higher_is_better
}


@dataclass(frozen=True)
class Cell:
    """One cell of a rendered table.

    Attributes:
        text: What it shows.
        is_best: Whether it is the best of ours in its column.
    """

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Block:
    """A rendered table: heading, and rows of cells of which the first is a name.

    Attributes:
        title: What stands above it.
        heading: Titles of the columns.
        rows: Rows; published ones are marked.
        published: Whether each row is a published one.
    """

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    published: tuple[bool, ...]


def blocks(filled: Filled) -> list[Block]:
    """The means, then a block for each metric of sets by set and group."""
    found = [_means(filled)]
    places = [place for place in filled.places if place]
    if places:
        keys = [(title, key) for title, key in filled.table.metrics if not _is_id(key)]
        found += [_by_place(filled, title, key, places) for title, key in keys]
    return found


def _is_id(key: str) -> bool:
    return key in ("accuracy", *GROUPS)


def _means(filled: Filled) -> Block:
    columns = [("", key) for _, key in filled.table.metrics]
    heading = ["", *(title for title, _ in filled.table.metrics)]
    with_gap = any(line.behind for line in filled.lines)
    rows, marks = _rows(filled, columns)
    if with_gap:
        heading.append("AUROC behind the best")
        gaps = iter(filled.lines)
        rows = [
            (*row, Cell("" if is_published else _gap(next(gaps))))
            for row, is_published in zip(rows, marks, strict=True)
        ]
    return Block(filled.table.title, tuple(heading), tuple(rows), tuple(marks))


def _by_place(filled: Filled, title: str, key: str, places: Sequence[str]) -> Block:
    rows, marks = _rows(filled, [(place, key) for place in places])
    named = [f"mean {place[1:]}" if place[0] == "@" else place[1:] for place in places]
    return Block(f"{title} by OOD set", ("", *named), tuple(rows), tuple(marks))


def _rows(
    filled: Filled, columns: Sequence[tuple[str, str]]
) -> tuple[list[tuple[Cell, ...]], list[bool]]:
    best = {column: _best(filled, *column) for column in columns}
    rows: list[tuple[Cell, ...]] = []
    marks: list[bool] = []
    for line in filled.lines:
        cells = []
        for column in columns:
            figure = line.figures.get(column[0], {}).get(column[1])
            top = figure is not None and f"{100 * figure.mean:.2f}" == best[column]
            cells.append(Cell(_figure(figure), top))
        rows.append((Cell(_name(line)), *cells))
        marks.append(False)
        for item in line.published:
            rows.append(_published(item, columns))
            marks.append(True)
    for item in filled.others:
        rows.append(_published(item, columns))
        marks.append(True)
    return rows, marks


def _best(filled: Filled, place: str, key: str) -> str | None:
    """Best of our means as the table shows it; None where fewer than two compare."""
    found = [line.figures.get(place, {}).get(key) for line in filled.lines]
    means = [figure.mean for figure in found if figure is not None]
    if len(means) < 2:
        return None
    return f"{100 * (min(means) if key in _LOWER else max(means)):.2f}"


def _name(line: Line) -> str:
    marks = "".join(f" [{flag}]" for flag in line.row.flags)
    return f"{line.row.name}{marks}"


def _published(item: Published, columns: Sequence[tuple[str, str]]) -> tuple[Cell, ...]:
    figures = item.checked()
    cells = []
    for place, key in columns:
        value = figures.get(place, {}).get(key)
        std = item.std.get(key) if place == "" else None
        spread = "" if std is None else f" ± {std:.2f}"
        cells.append(Cell("" if value is None else f"{value:.2f}{spread}"))
    marks = "".join(f" [{flag}]" for flag in item.flags)
    return (Cell(f"{item.name}, published{marks}"), *cells)


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    spread = "" if figure.std is None else f" ± {100 * figure.std:.2f}"
    return f"{100 * figure.mean:.2f}{spread}"


def _gap(line: Line) -> str:
    gap = line.behind
    if gap is None:
        return ""
    mark = "" if gap.is_significant else " (n.s.)"
    return f"{100 * gap.mean:.2f} [{100 * gap.low:.2f}, {100 * gap.high:.2f}]{mark}"


def notes(filled: Filled) -> list[str]:
    """What the figures are, where published ones come from, and what is missing."""
    table = filled.table
    meaning = ", ".join(f"{title} is {key}" for title, key in table.metrics)
    # Rows that no seed changes run once.
    count = 1 if all(row.deterministic for row in table.rows) else len(table.seeds)
    over = f"mean ± standard deviation over {count} seeds" if count > 1 else "one seed"
    found = [f"Table {table.name}, version {table.version}. Percent; {over}; {meaning}."]
    if any(line.behind for line in filled.lines):
        found.append(
            f"Behind the best: difference of mean AUROC to {filled.best}, with its 95 % bootstrap "
            "interval over seeds and images, drawn alike for both; n.s.: the interval holds 0."
        )
    if apart := _for_tuning(filled):
        found.append(f"Kept for tuning, and in no figure here: {', '.join(apart)}.")
    flags = dict.fromkeys(flag for line in filled.lines for flag in line.row.flags)
    flags |= dict.fromkeys(flag for item in table.published for flag in item.flags)
    found += [f"{flag}: {FLAGS[flag]}." for flag in flags]
    for item in table.published:
        why = f" Not comparable: {item.why_not}" if item.why_not else ""
        found.append(f"{item.name}, published: {item.source}.{why}".replace("..", "."))
    for line in filled.lines:
        for seed, reason in line.missing.items():
            found.append(f"{line.row.name}, seed {seed}: {reason}.".replace("..", "."))
    return [*found, *table.notes]


def _for_tuning(filled: Filled) -> list[str]:
    """Names of the sets of outliers to tune on that the table's settings name."""
    datasets = filled.table.params.get("datasets") or {}
    named = [item for section in datasets.values() for item in (section or {}).get("val_ood", ())]
    return list(dict.fromkeys(item.partition("=")[0] for item in named))


def as_text(filled: Filled) -> str:
    """For a terminal."""
    parts = []
    for block in blocks(filled):
        rows = [block.heading, *(tuple(cell.text for cell in row) for row in block.rows)]
        parts += [block.title, *(line.rstrip() for line in aligned(rows)), ""]
    return "\n".join([*parts, *notes(filled)])


def as_markdown(filled: Filled) -> str:
    """For READMEs and pages; the best of ours in bold, published rows in italics."""
    parts = [f"# {filled.table.title}", ""]
    if filled.table.about:
        parts += [filled.table.about, ""]
    for place, block in enumerate(blocks(filled)):
        if place:
            parts += [f"## {block.title}", ""]
        parts.append("| " + " | ".join(block.heading) + " |")
        parts.append("| --- |" + " ---: |" * (len(block.heading) - 1))
        for row, is_published in zip(block.rows, block.published, strict=True):
            cells = [_marked(cell, "**{}**", "*{}*" if is_published else "{}") for cell in row]
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join([*parts, *(f"- {note}" for note in notes(filled)), ""])


def as_latex(filled: Filled) -> str:
    """For LaTeX with the package booktabs."""
    parts = []
    for block in blocks(filled):
        parts += [
            f"% {block.title}",
            rf"\begin{{tabular}}{{l{'r' * (len(block.heading) - 1)}}}",
            r"\toprule",
            " & ".join(map(escaped, block.heading)) + r" \\",
            r"\midrule",
        ]
        for row, is_published in zip(block.rows, block.published, strict=True):
            plain = r"\emph{{{}}}" if is_published else "{}"
            cells = [_marked(cell, r"\textbf{{{}}}", plain, _latex) for cell in row]
            parts.append(" & ".join(cells) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([*parts, *(f"% {note}" for note in notes(filled)), ""])


def as_html(filled: Filled) -> str:
    """One page that needs nothing else."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{_web(filled.table.title)}</title>",
        f"<style>{_STYLE}</style><h1>{_web(filled.table.title)}</h1><p>{_web(filled.table.about)}",
    ]
    for block in blocks(filled):
        head = "".join(f"<th scope=col>{_web(title)}" for title in block.heading)
        parts.append(f"<h2>{_web(block.title)}</h2><div><table><thead><tr>{head}</thead><tbody>")
        for row, is_published in zip(block.rows, block.published, strict=True):
            cells = [_marked(cell, "<b>{}</b>", "{}", _web) for cell in row]
            first, *others = cells
            kind = " class=published" if is_published else ""
            rest = "".join(f"<td>{cell}" for cell in others)
            parts.append(f"<tr{kind}><th scope=row>{first}{rest}")
        parts.append("</tbody></table></div>")
    items = "".join(f"<li>{_web(note)}" for note in notes(filled))
    return "\n".join([*parts, f"<ul>{items}</ul></html>", ""])


def as_csv(filled: Filled) -> str:
    """Every figure of every row, set and group in fractions, one line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "version", "row", "kind", "place", "metric", "mean", "std", "seeds"))
    table = filled.table
    for line in filled.lines:
        for place, figures in line.figures.items():
            for key, figure in figures.items():
                numbers = (repr(figure.mean), "" if figure.std is None else repr(figure.std))
                seeds = len(figure.values)
                head = (table.name, table.version, line.row.name, "ours", place)
                writer.writerow((*head, key, *numbers, seeds))
    for item in table.published:
        for place, values in item.checked().items():
            for key, value in values.items():
                std = item.std.get(key) if place == "" else None
                numbers = (repr(value / 100), "" if std is None else repr(std / 100))
                head = (table.name, table.version, item.name, "published", place)
                writer.writerow((*head, key, *numbers, item.seeds or ""))
    return text.getvalue()


#: Formats by name, with the ending of their files.
FORMATS: Mapping[str, tuple[str, Callable[[Filled], str]]] = {
    "text": (".txt", as_text),
    "markdown": (".md", as_markdown),
    "csv": (".csv", as_csv),
    "latex": (".tex", as_latex),
    "html": (".html", as_html),
}

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}div{overflow-x:auto}table{border-collapse:collapse}"
    "th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}"
    "th:first-child{text-align:left}.published{opacity:.7;font-style:italic}"
)


def _marked(
    cell: Cell, best: str, plain: str, say: Callable[[str], str] = lambda text: text
) -> str:
    """The text of a cell in its form; empty cells have none."""
    if not cell.text:
        return ""
    return (best if cell.is_best else plain).format(say(cell.text))


def _latex(text: str) -> str:
    return escaped(text).replace("±", r"$\pm$")


def _web(text: str) -> str:
    return html.escape(text)
