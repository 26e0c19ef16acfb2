"""A table filled in: figures of every row, published rows beside them, and who beats whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ltood.tables.cells import Cell
from ltood.tables.published import Published
from ltood.tables.records import Record, Results
from ltood.tables.spec import Row, Table
from ltood.tables.statistics import Difference, Drawn, Figure, differences, places_of, value_of

#: Metrics that exports read, whatever the table shows.
_ALWAYS = ("auroc", "accuracy")


@dataclass(frozen=True)
class Line:
    """One row of a filled table.

    Attributes:
        row: The row; None for a published one that no row repeats.
        figures: Figures in fractions by place ("" is the mean over all sets, "@near" that of a
            group, "/svhn" a set) and key.
        missing: Seeds without a result, with the reason.
        published: Published rows that it repeats.
        behind: How much worse it is than the best row of ours; None for that row itself, and where
            it was not computed.
    """

    row: Row
    figures: Mapping[str, Mapping[str, Figure]]
    missing: Mapping[int, str]
    published: tuple[Published, ...]
    behind: Difference | None = None


@dataclass(frozen=True)
class Filled:
    """A filled table.

    Attributes:
        table: What was asked for.
        lines: Its rows, from top to bottom.
        others: Published rows that none of them repeats.
        best: Name of our row with the best mean AUROC; None where there is no result.
    """

    table: Table
    lines: tuple[Line, ...]
    others: tuple[Published, ...]
    best: str | None = None
    places: tuple[str, ...] = field(default=("",))


def fill(
    table: Table,
    cells: Sequence[Cell],
    records: Mapping[str, Record],
    failures: Mapping[str, str],
    results: Results | None = None,
    *,
    samples: int = 500,
) -> Filled:
    """Fill a table with results.

    Args:
        table: The table.
        cells: Its cells.
        records: Results by cell; cells without one leave gaps.
        failures: Reasons for gaps by cell.
        results: Where scores lie, for intervals of differences; None computes none.
        samples: Draws of each interval.
    """
    lines = [_line(table, row, cells, records, failures) for row in table.rows]
    scored = [line for line in lines if "auroc" in line.figures.get("", {})]
    best = max(scored, key=lambda line: line.figures[""]["auroc"].mean, default=None)
    if results is not None and best is not None and len(scored) > 1:
        gaps = _gaps(best, scored, cells, records, results, samples)
        lines = [_behind(line, gaps.get(line.row.name)) for line in lines]
    repeated = {id(item) for line in lines for item in line.published}
    others = tuple(item for item in table.published if id(item) not in repeated)
    found = dict.fromkeys(place for line in lines for place in line.figures)
    # Groups stand in the order of the table's file.
    places = dict.fromkeys(["", *(f"@{group}" for group in table.groups)])
    places = {place: None for place in places if place in found} | found
    return Filled(
        table, tuple(lines), others, best.row.name if best else None, tuple(places) or ("",)
    )


def _line(
    table: Table,
    row: Row,
    cells: Sequence[Cell],
    records: Mapping[str, Record],
    failures: Mapping[str, str],
) -> Line:
    own = [cell for cell in cells if row in cell.rows]
    done = [records[cell.name].rows[row.title] for cell in own if cell.name in records]
    figures: dict[str, dict[str, Figure]] = {}
    for place in dict.fromkeys(place for result in done for place in places_of(result)):
        for key in dict.fromkeys([*(key for _, key in table.metrics), *_ALWAYS]):
            values = [value_of(result, key, place) for result in done]
            known = [value for value in values if value is not None]
            if known:
                figures.setdefault(place, {})[key] = Figure.of(known)
    missing = {
        cell.seed: failures.get(cell.name, "not run yet")
        for cell in own
        if cell.name not in records
    }
    published = tuple(item for item in table.published if item.row == row.name)
    return Line(row, figures, missing, published)


def _gaps(
    best: Line,
    lines: Sequence[Line],
    cells: Sequence[Cell],
    records: Mapping[str, Record],
    results: Results,
    samples: int,
) -> dict[str, Difference]:
    """How much better the best row is than each other, over the seeds that both have."""
    drawn = {line.row.name: _drawn(line.row, cells, records, results) for line in lines}
    first = drawn.pop(best.row.name)
    found: dict[str, Difference] = {}
    if not first:
        return found
    for name, others in ((name, rows) for name, rows in drawn.items() if rows):
        seeds = [seed for seed in first if seed in others] or [next(iter(first))]
        # A row that no seed changes stands beside every seed of the other.
        own = [first[seed] for seed in seeds]
        other = [others.get(seed) or next(iter(others.values())) for seed in seeds]
        found |= differences(own, {name: other}, samples=samples)
    return found


def _drawn(
    row: Row, cells: Sequence[Cell], records: Mapping[str, Record], results: Results
) -> dict[int, Drawn]:
    """Scores by seed; none of a row that keeps no scores, as those of streams."""
    found = {}
    for cell in cells:
        if row in cell.rows and cell.name in records:
            scores = results.open_scores(cell)
            if row.title in scores.titles:
                found[cell.seed] = Drawn(scores, row.title)
    return found


def _behind(line: Line, gap: Difference | None) -> Line:
    return Line(line.row, line.figures, line.missing, line.published, gap)
