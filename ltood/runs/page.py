"""The page of a comparison of runs: one HTML file that opens anywhere, offline."""

from dataclasses import dataclass, replace
from pathlib import Path

import ltood
from ltood.evaluation.intervals import ACCURACIES, RESAMPLED
from ltood.metrics import METRICS
from ltood.reporting.compared_figures import Line, rocs, shares, with_intervals
from ltood.reporting.content import as_json
from ltood.reporting.drawing import Drawing
from ltood.reporting.page import environment, style
from ltood.reporting.panels import Panel
from ltood.reporting.script import policy, script
from ltood.reporting.sheets import Column, Sheet, Value, shown
from ltood.reporting.tables import Cell, Row, value_of
from ltood.runs import sheets
from ltood.runs.comparing import RunComparison
from ltood.runs.groups import higher_is_better

_FOLDER = Path(__file__).parent
_TEMPLATE = "runs.html.jinja"


@dataclass(frozen=True)
class Heading:
    """A column: its heading, the direction of the first click on it, and whether it holds names."""

    text: str
    first: str
    is_text: bool


@dataclass(frozen=True)
class Grid:
    """A table for the page."""

    name: str
    title: str
    corner: str
    headings: list[Heading]
    rows: list[Row]


@dataclass(frozen=True)
class SetFigures:
    """Figures of one OOD set."""

    name: str
    roc: Panel
    scores: list[Panel]


@dataclass(frozen=True)
class RunsContent:
    """Everything the page shows, ready for the template; what is of OOD sets may be empty."""

    title: str
    lead: str
    notes: list[str]
    summary: Grid
    overview: Panel | None
    settings: Grid
    differences: Grid
    pairs: Grid | None
    by_set: list[Grid]
    alarms: Grid | None
    sets: list[SetFigures]
    sources: Grid
    data: str


def write_page(out: Path, found: RunComparison, title: str | None = None) -> None:
    """Write the page; an existing one is replaced only when the new one is complete.

    Args:
        out: The .html file.
        found: The comparison.
        title: Heading of the page; how many runs it compares by default.

    Raises:
        MissingPackageError: If a package of the extra `report` is not installed.
        StoreError: If the file cannot be written.
    """
    from ltood.reporting.write import check_packages
    from ltood.runtime.files import write_atomically

    check_packages()
    write_atomically(out, render(content_of(found, title)).encode(errors="backslashreplace"))


def render(content: RunsContent) -> str:
    """HTML text of a comparison."""
    text = script()
    made = environment({_TEMPLATE: (_FOLDER / _TEMPLATE).read_text(encoding="utf-8")})
    return made.get_template(_TEMPLATE).render(
        content=content,
        version=ltood.__version__,
        policy=policy(text),
        script=text,
        base=style(),
        style=(_FOLDER / "runs.css").read_text(encoding="utf-8"),
    )


def content_of(found: RunComparison, title: str | None = None) -> RunsContent:
    """Put the pieces of the page together."""
    count = sum(len(group.runs) for group in found.groups)
    grouped = f" in {len(found.groups)} groups" if len(found.groups) < count else ""
    made = {sheet.name: sheet for sheet in sheets.sheets_of(found)}
    names = [group.name for group in found.groups]
    return RunsContent(
        title or f"{count} runs compared",
        f"{count} runs{grouped}: {', '.join(names)}.",
        sheets.notes(found),
        _grid(_narrow(made["summary"]), marked=found.against),
        _overview(found),
        _grid(made["settings"]),
        _grid(_narrow(made["differences"])),
        _grid(made["pairs"]) if len(found.groups) > 2 else None,
        [_grid(made[f"{key}_by_set"], marked=found.against) for key in sheets.BY_SET if found.sets],
        _grid(made["false_alarms"], marked=found.against) if found.sets else None,
        [_set_figures(found, name) for name in found.sets] if _has_curves(found) else [],
        _grid(made["sources"]),
        as_json({name: sheets.all_values(sheet) for name, sheet in made.items()}),
    )


def figures_of(found: RunComparison) -> dict[str, Drawing]:
    """Figures of a comparison by name: means with intervals, and ROC curves of each OOD set."""
    drawings = {} if (mean := _overview(found)) is None else {"leaderboard": mean.drawing}
    if _has_curves(found):
        drawings |= {f"roc-{name}": _roc(found, name) for name in found.sets}
    return drawings


def _grid(sheet: Sheet, marked: str | None = None) -> Grid:
    headings = [
        Heading(column.title, _first(column), column.unit == "text") for column in sheet.columns
    ]
    rows = [
        Row(
            name,
            [_cell(value, column) for value, column in zip(values, sheet.columns, strict=True)],
            is_marked=name == marked,
        )
        for name, values in sheet.rows
    ]
    return Grid(sheet.name, sheet.title, sheet.corner, headings, rows)


def _narrow(sheet: Sheet) -> Sheet:
    """A table without the column that a page has no room for; files have it."""
    kept = [place for place, column in enumerate(sheet.columns) if column.key != "ap_in"]
    rows = [(name, [values[place] for place in kept]) for name, values in sheet.rows]
    return replace(sheet, columns=[sheet.columns[place] for place in kept], rows=rows)


def _first(column: Column) -> str:
    is_metric = column.key in (*RESAMPLED, *ACCURACIES)
    descending = higher_is_better(column.key) if is_metric else column.unit == "points"
    return "descending" if descending else "ascending"


def _cell(value: Value, column: Column) -> Cell:
    text, interval = shown(value, column.unit)
    is_text = column.unit == "text"
    note = ""
    if value.is_best:
        note = "clearly better" if column.unit == "points" else "best, or not clearly worse"
    number = "" if isinstance(value.value, str) else value_of(value.value)
    return Cell(text, interval, "best" if value.is_best else "", is_text, number, note)


def _overview(found: RunComparison) -> Panel | None:
    rows, key = {}, found.main
    for group in found.groups:
        figure = found.figure(group, key)
        if figure.value is not None:
            rows[group.name] = (figure.value, figure.low, figure.high)
    if not rows:
        return None
    ordered = dict(sorted(rows.items(), key=lambda item: -item[1][0]))
    name = f"mean {METRICS[key].name}" if key in METRICS else key
    said = f"{name[0].upper()}{name[1:]}"
    label = f"{said} of each run with its 95 percent interval"
    drawing = with_intervals(ordered, f"{name}, %", label)
    return Panel(drawing, f"{said} with its 95 % interval. The axis does not begin at 0.")


def _has_curves(found: RunComparison) -> bool:
    return any(run.curves for group in found.groups for run in group.runs)


def _set_figures(found: RunComparison, name: str) -> SetFigures:
    caption = "ROC with both readings of FPR95. Of a group, all runs are drawn, the mean is marked."
    scores = [Panel(drawing, group) for group, drawing in score_figures(found, name).items()]
    return SetFigures(name, Panel(_roc(found, name), caption), scores)


def _roc(found: RunComparison, name: str) -> Drawing:
    lines = []
    for group in found.groups:
        drawn = [run.curves[name].roc for run in group.runs if name in run.curves]
        if drawn:
            ood, known = (
                found.figure(group, key, name).value for key in ("fpr95_ood_pos", "fpr95_id_pos")
            )
            marks = {} if ood is None else {"ood": (ood, 0.95)}
            marks |= {} if known is None else {"id": (0.05, 1 - known)}
            lines.append(Line(group.name, drawn, marks))
    return rocs(lines, f"ROC curves of {', '.join(line.name for line in lines)} on {name}")


def score_figures(found: RunComparison, name: str) -> dict[str, Drawing]:
    """Scores of the first run of each group on one OOD set, by the name of the run."""
    return {
        run.name: shares(
            run.curves[name].bins,
            run.curves[name].id_shares,
            run.curves[name].ood_shares,
            f"Histogram of OOD scores of {run.name}: ID images against {name}",
        )
        for run in (group.runs[0] for group in found.groups)
        if name in run.curves
    }
