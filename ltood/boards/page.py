"""The leaderboard as a page: tables that sort in the browser, without a network."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from ltood.boards.lines import Line, Section, sections
from ltood.boards.record import Record
from ltood.metrics import JUDGED, METRICS
from ltood.reporting.script import script
from ltood.tables.spec import BOARDS, FLAGS, Table

_LOWER = {key for key, metric in METRICS.items() if not metric.higher_is_better} | {
    key for key, metric in JUDGED.items() if not metric.higher_is_better
}
_LEFT = ' class="from"'
_HERE = Path(__file__).parent
_ABOUT = (
    "Percent, mean ± standard deviation over seeds; the best row that has a record is bold. Rows "
    "in italics are quoted from publications and were not run here. A row without flags scores "
    "each image by itself, with settings that no test image chose, and without auxiliary outliers."
)


def as_html(records: Sequence[Record], tables: Sequence[Table]) -> str:
    """The whole page; it needs nothing else."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Leaderboard</title><style>{_read('whole.css')}</style>",
        f"<h1>Leaderboard</h1><p>{_web(_ABOUT)}</p>",
    ]
    for heading, found in _by_board(sections(records, tables)):
        parts.append(f"<h2>{_web(heading)}</h2>")
        for section in found:
            parts.append(f"<h3>{_web(_heading(section))}</h3>")
            parts.append(_table(section))
        if not found:
            parts.append("<p>No rows yet.</p>")
    return "\n".join([*parts, _tail(), "</html>", ""])


def as_markdown(records: Sequence[Record], tables: Sequence[Table]) -> str:
    """The same for a page of a site, without its title.

    Args:
        records: All records.
        tables: All tables that there are.
    """
    parts = [_ABOUT, ""]
    for heading, found in _by_board(sections(records, tables)):
        parts += [f"## {heading}", ""]
        for section in found:
            parts += [f"### {_heading(section)}", "", _table(section), ""]
        if not found:
            parts += ["No rows yet.", ""]
    return "\n".join([*parts, _tail(), ""])


def _by_board(found: Sequence[Section]) -> Iterator[tuple[str, list[Section]]]:
    """Boards with their tables; what stands on neither comes last, if there is any."""
    for board, heading in BOARDS.items():
        yield heading, [section for section in found if section.board == board]
    others = [section for section in found if section.board not in BOARDS]
    if others:
        yield "Other tables", others


def _heading(section: Section) -> str:
    return f"{section.title} ({section.name}, version {section.version})"


def _table(section: Section) -> str:
    """A table without a blank line, so that Markdown takes it as it is."""
    titles = ["Row", *(title for title, _, _ in section.columns), "Seeds", "Features", "From"]
    head = "".join(
        f'<th scope="col"{_LEFT if title == titles[-1] else ""}>'
        f'<button type="button">{_web(title)}</button></th>'
        for title in titles
    )
    best = {(place, key): _best(section, place, key) for _, place, key in section.columns}
    rows = "".join(_row(section, line, best) for line in section.lines)
    used = dict.fromkeys(flag for line in section.lines for flag in line.flags)
    notes = [f"{flag}: {FLAGS[flag]}." for flag in used] + list(section.notes)
    listed = "".join(f"<li>{_web(note)}</li>" for note in notes)
    below = f"<ul>{listed}</ul>" if listed else ""
    return (
        f'<div class="ltood-board"><div><table class="board"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{below}</div>"
    )


def _row(section: Section, line: Line, best: dict[tuple[str, str], str | None]) -> str:
    flags = "".join(f' <small title="{_web(FLAGS[flag])}">{flag}</small>' for flag in line.flags)
    cells = [f'<th scope="row">{_web(line.name)}{flags}</th>']
    for _, place, key in section.columns:
        figure = line.figures.get((place, key))
        if figure is None:
            cells.append("<td></td>")
            continue
        mean, std = figure
        text = f"{mean:.2f}" + ("" if std is None else f" ± {std:.2f}")
        if not line.is_published and f"{mean:.2f}" == best[place, key]:
            text = f"<b>{text}</b>"
        cells.append(f'<td data-value="{mean!r}">{text}</td>')
    seeds = "" if line.seeds is None else str(line.seeds)
    cells.append(f'<td data-value="{seeds}">{seeds}</td>')
    cells.append(f"<td>{_features(line)}</td>")
    cells.append(f"<td{_LEFT}>{_web(line.source)}</td>")
    kind = ' class="published"' if line.is_published else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _features(line: Line) -> str:
    if line.features is None:
        return ""
    return f'<span title="{_web(line.features)}">public</span>' if line.features else "not public"


def _best(section: Section, place: str, key: str) -> str | None:
    """Best of our own figures as it is shown; None where fewer than two compare."""
    own = [line.figures.get((place, key)) for line in section.lines if not line.is_published]
    means = [figure[0] for figure in own if figure is not None]
    if len(means) < 2:
        return None
    return f"{min(means) if key in _LOWER else max(means):.2f}"


def _tail() -> str:
    """Style and script of the tables."""
    return f"<style>{_read('board.css')}</style>\n<script>{script()}</script>"


def _read(name: str) -> str:
    text = (_HERE / name).read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line)


def _web(text: str) -> str:
    return html.escape(text)
